import { z } from 'zod';
import { RotaryDecoder } from '../../nn/rotaryDecoder.js';
import { decoderConfig, decoderOptions, rotaryFacts } from './decoderConfig.js';
import { defineModelFamily, type ModelFamily } from './family.js';
import { qwenWindowKeys, qwenWindows } from './qwenWindows.js';

/**
 * Qwen3, dense: Llama with norms of queries and keys over the features of each head, and a width of
 * heads of its own.
 *
 * @see arXiv:2505.09388; transformers models/qwen3/modeling_qwen3.py
 */
export const qwen3: ModelFamily = defineModelFamily({
  modelType: 'qwen3',
  config: decoderConfig.extend({
    head_dim: z.int().positive().default(128),
    tie_word_embeddings: z.boolean().default(false),
    /** Biases of all four projections of attention. */
    attention_bias: z.boolean().default(false),
    ...qwenWindowKeys,
  }),
  facts: (config) => rotaryFacts(config),
  build: (engine, config, options) =>
    new RotaryDecoder(
      engine,
      decoderOptions(config, {
        ...options,
        tieWordEmbeddings: config.tie_word_embeddings,
        qkvBias: config.attention_bias,
        outputBias: config.attention_bias,
        mlpBias: false,
        headNorms: true,
        windows: qwenWindows(config),
      }),
    ),
});
