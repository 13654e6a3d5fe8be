import { z } from 'zod';
import { RotaryTables } from '../../nn/rotary.js';
import { headSizes, paddingIndex, rotaryFacts } from './decoderConfig.js';
import { defineModelFamily, type ModelFamily } from './family.js';
import { gemmaActivation, gemmaConfig } from './gemmaConfig.js';
import { gemmaDecoder } from './gemmaDecoder.js';
import { layerTypesKey, slidingWindowKey, windowsOf } from './layerTypes.js';
import { longestSequence, rotaryFromConfig, rotaryKeys } from './rotaryConfig.js';

const cap = z.number().positive().nullish();

/**
 * Gemma 2: Gemma with norms after the blocks too, soft caps on scores and logits, and a sliding
 * window in every other layer.
 *
 * @see arXiv:2408.00118; transformers models/gemma2/modeling_gemma2.py
 */
export const gemma2: ModelFamily = defineModelFamily({
  modelType: 'gemma2',
  config: gemmaConfig.extend({
    ...rotaryKeys,
    hidden_activation: gemmaActivation,
    query_pre_attn_scalar: z.number().positive().default(256),
    attn_logit_softcapping: cap.default(50),
    final_logit_softcapping: cap.default(30),
    sliding_window: slidingWindowKey.default(4096),
    layer_types: layerTypesKey,
  }),
  facts: (config) => rotaryFacts(config),
  build: (engine, config, options) => {
    const { theta, scaling } = rotaryFromConfig(config);
    const { num_hidden_layers: numLayers, sliding_window: window } = config;
    const windows = windowsOf(numLayers, window, config.layer_types, (i) => i % 2 === 0);
    const sizes = headSizes(config);
    const maxPositions = longestSequence(scaling, config);
    const rotary = new RotaryTables(engine, {
      headDim: sizes.headDim,
      theta,
      scaling,
      maxPositions,
    });
    return gemmaDecoder(engine, {
      ...options,
      ...sizes,
      vocabSize: config.vocab_size,
      hiddenSize: config.hidden_size,
      intermediateSize: config.intermediate_size,
      rmsNormEps: config.rms_norm_eps,
      attentionBias: config.attention_bias,
      tieWordEmbeddings: config.tie_word_embeddings,
      paddingIdx: paddingIndex(config),
      queryPreAttnScalar: config.query_pre_attn_scalar,
      attentionSoftcap: config.attn_logit_softcapping ?? 0,
      logitSoftcap: config.final_logit_softcapping ?? 0,
      headNorms: false,
      layers: windows.map((window) => ({ window, rotary })),
      tables: [rotary],
    });
  },
});
