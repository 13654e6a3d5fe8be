import { z } from 'zod';
import { RotaryDecoder } from '../../nn/rotaryDecoder.js';
import { decoderConfig, decoderOptions, rotaryFacts } from './decoderConfig.js';
import { defineModelFamily, type ModelFamily } from './family.js';
import { qwenWindowKeys, qwenWindows } from './qwenWindows.js';

/**
 * Qwen2 and Qwen2.5: Llama with biases on q_proj, k_proj and v_proj.
 *
 * @see transformers models/qwen2/modeling_qwen2.py
 */
export const qwen2: ModelFamily = defineModelFamily({
  modelType: 'qwen2',
  config: decoderConfig.extend({
    tie_word_embeddings: z.boolean().default(false),
    ...qwenWindowKeys,
  }),
  facts: (config) => rotaryFacts(config),
  build: (engine, config, options) =>
    new RotaryDecoder(
      engine,
      decoderOptions(config, {
        ...options,
        tieWordEmbeddings: config.tie_word_embeddings,
        qkvBias: true,
        outputBias: false,
        mlpBias: false,
        windows: qwenWindows(config),
      }),
    ),
  ignoredWeights: [/rotary_emb\.inv_freq$/],
});
