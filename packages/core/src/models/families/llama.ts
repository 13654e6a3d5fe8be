import { z } from 'zod';
import { RotaryDecoder } from '../../nn/rotaryDecoder.js';
import { decoderConfig, decoderOptions, rotaryFacts } from './decoderConfig.js';
import { defineModelFamily, type ModelFamily } from './family.js';

/**
 * Llama 1 to 3 and what shares its architecture (SmolLM, SmolLM2, TinyLlama, ...).
 *
 * @see Touvron et al., arXiv:2302.13971; transformers models/llama/modeling_llama.py
 */
export const llama: ModelFamily = defineModelFamily({
  modelType: 'llama',
  config: decoderConfig.extend({
    /** Biases of all four projections of attention. */
    attention_bias: z.boolean().default(false),
    mlp_bias: z.boolean().default(false),
    tie_word_embeddings: z.boolean().default(false),
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
        mlpBias: config.mlp_bias,
      }),
    ),
  // Old checkpoints hold the frequencies, which follow from the config.
  ignoredWeights: [/rotary_emb\.inv_freq$/],
});
