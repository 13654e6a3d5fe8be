import type { LanguageModel } from '@attune/core';
import { inference, longestInput } from '@attune/core/models';
import { collateTokens } from '@attune/core/text';
import { upload } from '@attune/core/training';
import { type OptionsInput, type PlainJson, parseOptions } from '@attune/core/util';
import { z } from 'zod';
import type { EmbedCall, Embedder } from '../contract/embedder.js';
import { lengthBatches } from '../models/lengthBatches.js';
import { type Encoder, isModel, loadModel, tokenizerChoice } from '../models/modelChoice.js';
import { modelFingerprint } from '../models/modelFingerprint.js';

const modelEmbedderShape = {
  /** A model that is loaded. */
  model: z.custom<LanguageModel>(isModel, 'expected a model that is loaded'),
  /** Default: the one in the folder of the model. */
  tokenizer: tokenizerChoice.optional(),
  /**
   * 'mean': the mean of the last hidden states over the tokens of a text. 'last': that of its last
   * token, for models that were trained so. Default 'mean'.
   */
  pooling: z.enum(['mean', 'last']).default('mean').meta({ aka: 'poolingmode' }),
  /** Tokens beyond this many are not read. Default 512. */
  maxLength: z.int().min(1).default(512).meta({ aka: 'maxseqlength' }),
  /** Texts of a forward pass. Default 16. */
  batchSize: z.int().min(1).default(16),
};
const modelEmbedderOptions = z.strictObject(modelEmbedderShape);

/** Options of {@link modelEmbedder}. */
export type ModelEmbedderOptions = OptionsInput<typeof modelEmbedderShape>;

/**
 * Vectors from the last hidden states h_t of a model, after its final norm: of a text with n tokens
 * (1/n) sum_t h_t, or h_n. A text without tokens has the zero vector, which is like no other.
 * Padding and the batch do not count. Adapters that are on count.
 *
 * Hidden states of other layers than the last are not to be had.
 *
 * @throws UNKNOWN_OPTION, INVALID_OPTION
 */
export function modelEmbedder(options: ModelEmbedderOptions): Embedder {
  return new ModelEmbedder(parseOptions(modelEmbedderOptions, options, { where: 'modelEmbedder' }));
}

class ModelEmbedder implements Embedder {
  #tokenizer: Promise<Encoder> | null = null;

  constructor(private readonly options: z.output<typeof modelEmbedderOptions>) {}

  get name(): string {
    const { model, pooling } = this.options;
    return `${model.nameOrPath}, ${pooling}`;
  }

  async fingerprint(): Promise<PlainJson> {
    const { model, pooling, maxLength } = this.options;
    return { model: await modelFingerprint(model), pooling, maxLength };
  }

  async embed(texts: readonly string[], { signal }: EmbedCall = {}): Promise<Float32Array[]> {
    const { model, maxLength, batchSize } = this.options;
    const most = Math.min(maxLength, longestInput(model));
    this.#tokenizer ??= loadModel(this.options, null, 'modelEmbedder').then(
      ({ tokenizer }) => tokenizer,
    );
    const tokenizer = await this.#tokenizer;
    const ids = texts.map((text) => tokenizer.encode(text).slice(0, most));
    const vectors = texts.map(() => new Float32Array(model.config.hiddenSize));
    const lengths = ids.map(({ length }) => length);
    for (const batch of lengthBatches(lengths, batchSize)) {
      signal?.throwIfAborted();
      const places = batch.filter((i) => lengths[i]! > 0);
      if (places.length === 0) continue;
      const found = await this.#pooled(places.map((i) => ids[i]!));
      places.forEach((i, row) => {
        const size = found.length / places.length;
        vectors[i] = found.slice(row * size, (row + 1) * size);
      });
    }
    return vectors;
  }

  /** [B, D], row after row. */
  async #pooled(rows: readonly (readonly number[])[]): Promise<Float32Array> {
    const { model, pooling, maxLength } = this.options;
    const { engine } = model;
    const batch = collateTokens(
      rows.map((inputIds) => ({ inputIds, labels: inputIds })),
      Math.min(maxLength, longestInput(model)),
    );
    const [count, width] = batch.inputIds.shape;
    // The pooling is a product with it: [B, 1, T].
    const weights = new Float32Array(count * width);
    rows.forEach(({ length }, b) => {
      if (pooling === 'last') weights[b * width + length - 1] = 1;
      else weights.fill(1 / length, b * width, b * width + length);
    });
    const pooled = inference(model, () => {
      const { inputIds, positions, segments, pool } = upload(
        engine,
        { ...batch, pool: { data: weights, shape: [count, 1, width], dtype: 'float32' } },
        model,
      );
      const hidden = model.hiddenStates({
        inputIds: inputIds!,
        positions: positions!,
        segments: segments!,
      });
      return pool!.matmul(hidden.cast('float32')); // [B, 1, D]
    });
    const values = await pooled.data();
    pooled.dispose();
    return values as Float32Array;
  }
}
