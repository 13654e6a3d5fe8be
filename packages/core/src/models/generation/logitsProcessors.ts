/**
 * Logits processors that rule on tokens by what was written so far, in place on one row of scores,
 * each as in transformers' generation/logits_process.py. Minus infinity means: never.
 */

/** Where an answer stands when its next token is chosen. */
export interface Place {
  /** Prompt and answer so far, without padding. */
  readonly ids: readonly number[];
  readonly prompt: readonly number[];
  /** New tokens so far. */
  readonly step: number;
  /**
   * Tokens of the longest prompt of the batch, and the new ones: what lengths are counted in, as in
   * transformers.
   */
  readonly length: number;
}

export type LogitsProcessor = (scores: Float64Array, place: Place) => void;

const never = Number.NEGATIVE_INFINITY;

const forbid = (scores: Float64Array, ids: Iterable<number>): void => {
  for (const id of ids) if (id < scores.length) scores[id] = never;
};

/** No n tokens in a row twice: the tokens that would repeat are ruled out. */
export const noRepeatNgrams =
  (size: number): LogitsProcessor =>
  (scores, { ids }) =>
    forbid(scores, endingsOf(ids, ids, size));

/** No n tokens in a row that the prompt has. */
export const noNgramsOfPrompt =
  (size: number): LogitsProcessor =>
  (scores, { ids, prompt }) =>
    forbid(scores, endingsOf(ids, prompt, size));

/** The last tokens of those n-grams of `text` that begin with the end of `ids`. */
function endingsOf(ids: readonly number[], text: readonly number[], size: number): number[] {
  const start = ids.length + 1 - size;
  if (start < 0) return [];
  const endings: number[] = [];
  for (let at = 0; at + size <= text.length; at++) {
    let same = 0;
    while (same < size - 1 && text[at + same] === ids[start + same]) same++;
    if (same === size - 1) endings.push(text[at + same]!);
  }
  return endings;
}

/** A list of tokens, and what is added to the score of its last where the others stand before. */
export interface SequenceBias {
  readonly ids: readonly number[];
  readonly bias: number;
}

/** Biases add up. */
export const biasSequences =
  (biases: readonly SequenceBias[]): LogitsProcessor =>
  (scores, place) => {
    for (const { ids, bias } of biases) {
      const before = ids.length - 1;
      const start = place.ids.length - before;
      if (before < 0 || start < 0) continue;
      let same = 0;
      while (same < before && place.ids[start + same] === ids[same]) same++;
      if (same === before) scores[ids[before]!]! += bias;
    }
  };

export const suppress =
  (ids: readonly number[]): LogitsProcessor =>
  (scores) =>
    forbid(scores, ids);

/** Ruled out as the first new token; the second where a forced one stands before it. */
export const suppressAtStart =
  (ids: readonly number[], isForcedFirst: boolean): LogitsProcessor =>
  (scores, { step, length }) => {
    const first = isForcedFirst && length - step <= 1 ? 1 : 0;
    if (step === first) forbid(scores, ids);
  };

/** No end before `least` tokens, the prompt's counted. */
export const endNotBefore =
  (least: number, eos: readonly number[]): LogitsProcessor =>
  (scores, { length }) => {
    if (length < least) forbid(scores, eos);
  };

/** No end before `least` new tokens. */
export const endNotBeforeNew =
  (least: number, eos: readonly number[]): LogitsProcessor =>
  (scores, { step }) => {
    if (step < least) forbid(scores, eos);
  };

/** Behind a prompt of one token nothing but `id`. */
export const forceFirst =
  (id: number): LogitsProcessor =>
  (scores, { length }) => {
    if (length === 1) onlyThese(scores, [id]);
  };

/** As the last token that there is room for nothing but these. */
export const forceLast =
  (ids: readonly number[], maxNewTokens: number): LogitsProcessor =>
  (scores, { step }) => {
    if (step === maxNewTokens - 1) onlyThese(scores, ids);
  };

function onlyThese(scores: Float64Array, ids: readonly number[]): void {
  scores.fill(never);
  for (const id of ids) scores[id] = 0;
}

/** After `start` new tokens an end becomes likelier by |score| (factor^(tokens since) - 1). */
export const likelierEnd =
  (start: number, factor: number, eos: readonly number[]): LogitsProcessor =>
  (scores, { step }) => {
    if (step <= start) return;
    for (const id of eos)
      if (Number.isFinite(scores[id]))
        scores[id]! += Math.abs(scores[id]!) * (factor ** (step - start) - 1);
  };

const LARGEST = 3.4028234663852886e38; // of a float32

/** Not a number becomes 0, infinite the largest number. */
export const removeInvalid: LogitsProcessor = (scores) => {
  for (let i = 0; i < scores.length; i++) {
    const score = scores[i]!;
    if (Number.isNaN(score)) scores[i] = 0;
    else if (!Number.isFinite(score)) scores[i] = Math.sign(score) * LARGEST;
  }
};
