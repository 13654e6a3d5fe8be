import { createHash } from 'node:crypto';
import { AttuneError, type LanguageModel } from '@attune/core';
import { inference, longestInput } from '@attune/core/models';
import { ops } from '@attune/core/tensor';
import { collateTokens } from '@attune/core/text';
import { upload } from '@attune/core/training';
import type { AnswerLossesParts } from './answerLosses.js';
import { lengthBatches } from './lengthBatches.js';
import type { Encoder } from './modelChoice.js';
import { modelFingerprint } from './modelFingerprint.js';

/** Levels that are asked for: 1 to 6. */
const LEVELS = 6;

/**
 * The level from 1 to 6 that a model would write next, as an expected value:
 * sum_i i exp(z_i) / sum_j exp(z_j) over the logits z of the tokens "1" to "6".
 */
export class NextLevels {
  private constructor(
    private readonly parts: AnswerLossesParts,
    private readonly digits: Int32Array,
    private readonly fingerprint: string,
  ) {}

  /** @throws DATA_MODEL for a tokenizer that does not tell the six digits apart */
  static async of(parts: AnswerLossesParts, tokenizer: Encoder): Promise<NextLevels> {
    const digits = Int32Array.from({ length: LEVELS }, (_, i) => {
      const ids = tokenizer.encode(String(i + 1), { addSpecialTokens: false });
      return ids.at(-1) ?? -1;
    });
    if (new Set(digits).size < LEVELS || digits.includes(-1))
      throw new AttuneError(
        'DATA_MODEL',
        `the tokenizer has the last tokens ${digits.join(', ')} for the digits 1 to 6: they are not told apart.`,
        { remedy: 'Take a model whose tokenizer has a token for each digit.' },
      );
    return new NextLevels(parts, digits, await modelFingerprint(parts.model));
  }

  /** One level for each text, in their order. Levels that the cache has are not computed again. */
  async expected(texts: readonly (readonly number[])[]): Promise<number[]> {
    const { model, cache, batchSize, signal } = this.parts;
    const keys = texts.map((ids) => this.#key(ids));
    const kept = await Promise.all(keys.map((key) => cache.get(key)));
    const levels = kept.map((value) => (typeof value === 'number' ? value : null));
    const left = levels.flatMap((level, i) => (level === null ? [i] : []));
    const lengths = left.map((i) => texts[i]!.length);
    for (const batch of lengthBatches(lengths, batchSize)) {
      signal?.throwIfAborted();
      const places = batch.map((i) => left[i]!);
      const logits = await digitLogits(
        model,
        places.map((place) => texts[place]!),
        this.digits,
      );
      for (const [row, place] of places.entries())
        levels[place] = expectedLevel(
          Array.from({ length: LEVELS }, (_, i) => logits[i * places.length + row]!),
        );
      await Promise.all(places.map((place) => cache.set(keys[place]!, levels[place]!)));
    }
    return levels as number[];
  }

  #key(ids: readonly number[]): string {
    const digest = createHash('sha256').update(`${this.fingerprint} ${this.digits.join()} `);
    return `level-${digest.update(Int32Array.from(ids)).digest('hex').slice(0, 40)}`;
  }
}

/** sum_i i softmax(z)_i, from 1 on. */
export function expectedLevel(logits: readonly number[]): number {
  const largest = Math.max(...logits);
  let sum = 0;
  let weighted = 0;
  for (const [i, z] of logits.entries()) {
    const weight = Math.exp(z - largest);
    sum += weight;
    weighted += (i + 1) * weight;
  }
  return weighted / sum;
}

/** Logits behind each text of the tokens that are asked for: [tokens, B]. One read. */
async function digitLogits(
  model: LanguageModel,
  texts: readonly (readonly number[])[],
  digits: Int32Array,
): Promise<ArrayLike<number>> {
  const batch = collateTokens(
    texts.map((ids) => ({ inputIds: ids, labels: ids })),
    longestInput(model),
  );
  const [count, width] = batch.inputIds.shape;
  const last = Int32Array.from(texts, (ids, b) => b * width + ids.length - 1);
  const found = inference(model, () => {
    const device = upload(
      model.engine,
      {
        ...batch,
        last: { data: last, shape: [count], dtype: 'int32' },
        digits: { data: digits, shape: [digits.length], dtype: 'int32' },
      },
      model,
    );
    const hidden = model.hiddenStates({
      inputIds: device.inputIds!,
      positions: device.positions!,
      segments: device.segments!,
    });
    const rows = ops.embedding(hidden.reshape(count * width, -1), device.last!); // [B, D]
    const logits = model.head(rows).cast('float32'); // [B, V]
    return ops.embedding(logits.transpose(), device.digits!); // [6, B]
  });
  const values = await found.data();
  found.dispose();
  return values;
}
