import { z } from 'zod';
import { RotaryDecoder } from '../../nn/rotaryDecoder.js';
import { AttuneError } from '../../util/errors.js';
import { decoderConfig, decoderOptions, rotaryFacts } from './decoderConfig.js';
import { defineModelFamily, type ModelFamily } from './family.js';
import { layerTypesKey, slidingWindowKey, windowsOf } from './layerTypes.js';

/**
 * SmolLM3: Llama, but the queries and keys of every fourth layer do not turn (NoPE, Yang et al.,
 * arXiv:2501.18795). SmolLM and SmolLM2 are of the family `llama`.
 *
 * @see transformers models/smollm3/modeling_smollm3.py
 */
export const smollm3: ModelFamily = defineModelFamily({
  modelType: 'smollm3',
  config: decoderConfig.extend({
    rope_theta: z.number().positive().nullish().default(2_000_000),
    tie_word_embeddings: z.boolean().default(true),
    pad_token_id: z.int().nullish().default(128_004),
    attention_bias: z.boolean().default(false),
    mlp_bias: z.boolean().default(false),
    /** For each layer 1 where queries and keys turn, 0 where not. */
    no_rope_layers: z.array(z.union([z.literal(0), z.literal(1)])).nullish(),
    /** Without the list: the last of so many layers does not turn. */
    no_rope_layer_interval: z.int().positive().default(4),
    use_sliding_window: z.boolean().default(false),
    sliding_window: slidingWindowKey,
    layer_types: layerTypesKey,
  }),
  facts: (config) => rotaryFacts(config),
  build: (engine, config, options) => {
    const { num_hidden_layers: layers, no_rope_layers: listed, sliding_window: window } = config;
    if (listed && listed.length < layers)
      throw new AttuneError(
        'CONFIG_INVALID',
        `config.json: no_rope_layers has ${listed.length} entries for ${layers} layers (num_hidden_layers).`,
        { remedy: 'Use the config.json that came with the checkpoint.' },
      );
    const rotaryLayers = Array.from({ length: layers }, (_, i) =>
      listed ? listed[i] === 1 : (i + 1) % config.no_rope_layer_interval !== 0,
    );
    const slides = config.use_sliding_window && window;
    return new RotaryDecoder(
      engine,
      decoderOptions(config, {
        ...options,
        tieWordEmbeddings: config.tie_word_embeddings,
        qkvBias: config.attention_bias,
        outputBias: config.attention_bias,
        mlpBias: config.mlp_bias,
        rotaryLayers,
        ...(slides && {
          windows: windowsOf(layers, window, config.layer_types, (i) => !rotaryLayers[i]),
        }),
      }),
    );
  },
});
