import { z } from 'zod';
import { RotaryDecoder } from '../../nn/rotaryDecoder.js';
import { decoderConfig, decoderOptions, rotaryFacts } from './decoderConfig.js';
import { defineModelFamily, type ModelFamily } from './family.js';
import { slidingWindowKey, windowsOf } from './layerTypes.js';

/**
 * Mistral: Llama whose layers see a sliding window. Later versions have none
 * (`sliding_window: null`).
 *
 * @see Jiang et al., arXiv:2310.06825; transformers models/mistral/modeling_mistral.py
 */
export const mistral: ModelFamily = defineModelFamily({
  modelType: 'mistral',
  config: decoderConfig.extend({
    tie_word_embeddings: z.boolean().default(false),
    /** A file without the key means the window of the first version, as in transformers. */
    sliding_window: slidingWindowKey.default(4096),
  }),
  facts: (config) => rotaryFacts(config),
  build: (engine, config, options) => {
    const { num_hidden_layers: layers, sliding_window: window } = config;
    return new RotaryDecoder(
      engine,
      decoderOptions(config, {
        ...options,
        tieWordEmbeddings: config.tie_word_embeddings,
        qkvBias: false,
        outputBias: false,
        mlpBias: false,
        windows: windowsOf(layers, window, null, () => window !== null),
      }),
    );
  },
  ignoredWeights: [/rotary_emb\.inv_freq$/],
});
