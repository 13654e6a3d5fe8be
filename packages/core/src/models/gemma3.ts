import { z } from 'zod';
import { RotaryTables } from '../nn/rotary.js';
import { headSizes } from './decoderConfig.js';
import { defineModelFamily, type ModelFamily } from './family.js';
import { gemmaActivation, gemmaConfig } from './gemmaConfig.js';
import { gemmaDecoder } from './gemmaDecoder.js';
import { layerTypesKey, slidingWindowKey, windowsOf } from './layerTypes.js';
import { longestSequence, rotaryFromConfig, rotaryKeys } from './rotaryConfig.js';

const cap = z.number().positive().nullish();
const positive = z.number().positive().nullish();

const config = gemmaConfig.extend({
  ...rotaryKeys,
  hidden_activation: gemmaActivation,
  query_pre_attn_scalar: z.number().positive().default(256),
  /** In the configs, but no released model has it and transformers does not apply it: only null. */
  attn_logit_softcapping: z.null().optional(),
  final_logit_softcapping: cap,
  sliding_window: slidingWindowKey.default(4096),
  layer_types: layerTypesKey,
  /** Without layer_types: the last of so many layers sees everything. */
  sliding_window_pattern: z.int().positive().default(6),
  /** Theta of the layers with a window, as transformers 4 writes it. */
  rope_local_base_freq: positive,
});

/** Frequencies of the layers that see everything, and of those with a window. */
function rotaryOf(keys: z.output<typeof config>) {
  const nested = keys.rope_parameters as
    | Partial<Record<'full_attention' | 'sliding_attention', Record<string, unknown> | null>>
    | null
    | undefined;
  const { max_position_embeddings } = keys;
  return {
    // transformers 4 scales the global ones alone.
    full: rotaryFromConfig(
      nested?.full_attention
        ? { rope_parameters: nested.full_attention, max_position_embeddings }
        : { rope_scaling: keys.rope_scaling, rope_theta: keys.rope_theta, max_position_embeddings },
      { theta: 1_000_000 },
    ),
    sliding: rotaryFromConfig(
      nested?.sliding_attention
        ? { rope_parameters: nested.sliding_attention, max_position_embeddings }
        : { rope_theta: keys.rope_local_base_freq },
      { theta: 10_000 },
    ),
  };
}

/**
 * Gemma 3, text: Gemma 2 with norms of queries and keys in place of the soft caps, five layers with a
 * sliding window to one without, and slower frequencies in that one.
 *
 * @see arXiv:2503.19786; transformers models/gemma3/modeling_gemma3.py
 */
export const gemma3: ModelFamily = defineModelFamily({
  modelType: 'gemma3_text',
  config,
  facts: (keys) => ({ maxPositionEmbeddings: longestSequence(rotaryOf(keys).full.scaling, keys) }),
  build: (engine, keys, options) => {
    const rotary = rotaryOf(keys);
    const sizes = headSizes(keys);
    const windows = windowsOf(
      keys.num_hidden_layers,
      keys.sliding_window,
      keys.layer_types,
      (i) => (i + 1) % keys.sliding_window_pattern !== 0,
    );
    const maxPositions = longestSequence(rotary.full.scaling, keys);
    const table = ({ theta, scaling }: ReturnType<typeof rotaryFromConfig>) =>
      new RotaryTables(engine, { headDim: sizes.headDim, theta, scaling, maxPositions });
    const [full, sliding] = [table(rotary.full), table(rotary.sliding)];
    return gemmaDecoder(engine, {
      ...options,
      ...sizes,
      vocabSize: keys.vocab_size,
      hiddenSize: keys.hidden_size,
      intermediateSize: keys.intermediate_size,
      rmsNormEps: keys.rms_norm_eps,
      attentionBias: keys.attention_bias,
      tieWordEmbeddings: keys.tie_word_embeddings,
      queryPreAttnScalar: keys.query_pre_attn_scalar,
      attentionSoftcap: 0,
      logitSoftcap: keys.final_logit_softcapping ?? 0,
      headNorms: true,
      layers: windows.map((window) => ({ window, rotary: window > 0 ? sliding : full })),
      tables: [full, sliding],
    });
  },
});
