import { createHash } from 'node:crypto';
import type { LanguageModel } from '@attune/core';
import { inference, longestInput } from '@attune/core/models';
import { IGNORE_INDEX } from '@attune/core/text';
import { collatePredictions, sequenceLogProbs, upload } from '@attune/core/training';
import type { StageCache } from '../contract/dataStage.js';
import { lengthBatches } from './lengthBatches.js';
import { modelFingerprint } from './modelFingerprint.js';

/** A text of which the tokens from `start` on are asked for. */
export interface AskedTokens {
  readonly ids: readonly number[];
  /** The first of them; the very first token of a text is never asked: nothing is before it. */
  readonly start: number;
}

/** Tokens of a text that are asked for. */
export const numAsked = ({ ids, start }: AskedTokens): number => ids.length - Math.max(start, 1);

/** What {@link AnswerLosses} is made of. */
export interface AnswerLossesParts {
  readonly model: LanguageModel;
  /** Texts of a forward pass. */
  readonly batchSize: number;
  /** Keeps the loss of each text. */
  readonly cache: StageCache;
  readonly signal: AbortSignal | null;
}

/** A batch on the device: its losses are read while the next one is recorded. */
interface RunningBatch {
  readonly places: readonly number[];
  readonly width: number;
  readonly logProbs: Promise<Float32Array>;
}

/** Mean losses of parts of texts, -(1/n) sum log p(token | all before it), in nats. */
export class AnswerLosses {
  private constructor(
    private readonly parts: AnswerLossesParts,
    private readonly fingerprint: string,
  ) {}

  static async of(parts: AnswerLossesParts): Promise<AnswerLosses> {
    return new AnswerLosses(parts, await modelFingerprint(parts.model));
  }

  /**
   * The mean loss of each text, in the order of the texts. What the cache has is taken; the others
   * go through the model in batches of similar lengths, and into the cache batch by batch.
   *
   * @param texts each with one token or more that is asked for
   */
  async means(texts: readonly AskedTokens[]): Promise<number[]> {
    const { cache, batchSize, signal } = this.parts;
    const keys = texts.map((text) => this.#key(text));
    const kept = await Promise.all(keys.map((key) => cache.get(key)));
    const means = kept.map((value) => (typeof value === 'number' ? value : null));
    const left = means.flatMap((mean, i) => (mean === null ? [i] : []));
    const finish = async ({ places, width, logProbs }: RunningBatch): Promise<void> => {
      const values = await logProbs;
      for (const [row, place] of places.entries()) {
        // Added up in float64: the order and the padding of a batch change nothing here.
        let sum = 0;
        for (let t = 0; t < width; t++) sum += values[row * width + t]!;
        means[place] = -sum / numAsked(texts[place]!);
      }
      await Promise.all(places.map((place) => cache.set(keys[place]!, means[place]!)));
    };
    let running: RunningBatch | null = null;
    const lengths = left.map((i) => texts[i]!.ids.length);
    for (const batch of lengthBatches(lengths, batchSize)) {
      signal?.throwIfAborted();
      const places = batch.map((i) => left[i]!);
      const next = this.#record(places, texts);
      if (running) await finish(running);
      running = next;
    }
    if (running) await finish(running);
    return means as number[];
  }

  #record(places: readonly number[], texts: readonly AskedTokens[]): RunningBatch {
    const { model } = this.parts;
    const examples = places.map((place) => {
      const { ids, start } = texts[place]!;
      return { inputIds: ids, labels: ids.map((id, t) => (t < start ? IGNORE_INDEX : id)) };
    });
    const batch = collatePredictions(examples, longestInput(model));
    const perToken = inference(
      model,
      () =>
        sequenceLogProbs(model, upload(model.engine, batch, model), { perToken: true }).perToken!,
    );
    const logProbs = perToken.data().then((values) => {
      perToken.dispose();
      return values as Float32Array;
    });
    // An error is thrown where it is awaited, and is not unhandled before.
    logProbs.catch(() => {});
    return { places, width: batch.labels.shape[1], logProbs };
  }

  #key({ ids, start }: AskedTokens): string {
    const digest = createHash('sha256').update(`${this.fingerprint} ${start} `);
    return `nll-${digest.update(Int32Array.from(ids)).digest('hex').slice(0, 40)}`;
  }
}
