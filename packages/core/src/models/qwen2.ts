import { z } from 'zod';
import { RotaryDecoder } from '../nn/decoder.js';
import { decoderConfig, decoderOptions } from './decoderConfig.js';
import { defineModelFamily, type ModelFamily } from './family.js';

/**
 * Qwen2 and Qwen2.5: Llama with biases on q_proj, k_proj and v_proj.
 *
 * @see transformers models/qwen2/modeling_qwen2.py
 */
export const qwen2: ModelFamily = defineModelFamily({
  modelType: 'qwen2',
  config: decoderConfig.extend({
    tie_word_embeddings: z.boolean().default(false),
    /** Sliding windows are not implemented here, so only their absence is accepted. */
    use_sliding_window: z.literal(false).default(false),
  }),
  build: (engine, config, { dtype }) =>
    new RotaryDecoder(
      engine,
      decoderOptions(config, {
        dtype,
        tieWordEmbeddings: config.tie_word_embeddings,
        qkvBias: true,
        outputBias: false,
        mlpBias: false,
      }),
    ),
  ignoredWeights: [/rotary_emb\.inv_freq$/],
});
