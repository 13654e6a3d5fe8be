import { z } from 'zod';
import { RotaryTables } from '../../nn/rotary.js';
import { AttuneError } from '../../util/errors.js';
import { headSizes, paddingIndex, scalingFacts } from './decoderConfig.js';
import { defineModelFamily, type ModelFamily } from './family.js';
import { gemmaActivation, gemmaConfig } from './gemmaConfig.js';
import { gemmaDecoder } from './gemmaDecoder.js';
import { layerTypesKey, slidingWindowKey, windowsOf } from './layerTypes.js';
import { longestSequence, rotaryFromConfig, rotaryKeys } from './rotaryConfig.js';

const cap = z.number().positive().nullish();
const positive = z.number().positive().nullish();

const parameters = z.record(z.string(), z.unknown());

const config = gemmaConfig.extend({
  ...rotaryKeys,
  /** By kinds of layers; other keys are passed over, as in transformers. */
  rope_parameters: z
    .looseObject({
      full_attention: parameters.nullish(),
      sliding_attention: parameters.nullish(),
    })
    .nullish(),
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

/**
 * Frequencies of the layers that see everything, and of those with a window, as transformers 5.23
 * reads them: `rope_scaling` changes what `rope_parameters` says of the former, or the default type
 * where it says nothing.
 *
 * @throws CONFIG_INVALID, ROPE_UNSUPPORTED
 */
function rotaryOf(keys: z.output<typeof config>) {
  const standard = { rope_type: 'default' };
  const { max_position_embeddings, partial_rotary_factor, rope_scaling: changes } = keys;
  const nested = keys.rope_parameters ?? {
    full_attention: standard,
    sliding_attention: standard,
  };
  if (changes && !nested.full_attention)
    throw new AttuneError(
      'CONFIG_INVALID',
      'config.json: rope_scaling changes rope_parameters.full_attention, which is not there.',
      { remedy: 'Give rope_parameters by kinds of layers, or leave out one of the two keys.' },
    );
  const of = (found: z.output<typeof parameters>, rope_theta: number) =>
    rotaryFromConfig({
      // `truncate` is looked for beside the kinds of layers, where it is not.
      rope_parameters: { ...found, truncate: true },
      rope_theta,
      partial_rotary_factor,
      max_position_embeddings,
    });
  return {
    full: of({ ...(nested.full_attention ?? standard), ...changes }, keys.rope_theta ?? 1_000_000),
    sliding: of(nested.sliding_attention ?? standard, keys.rope_local_base_freq ?? 10_000),
  };
}

/**
 * Gemma 3, text: Gemma 2 with norms of queries and keys in place of the soft caps, five layers with
 * a sliding window to one without, and slower frequencies in that one.
 *
 * @see arXiv:2503.19786; transformers models/gemma3/modeling_gemma3.py
 */
export const gemma3: ModelFamily = defineModelFamily({
  modelType: 'gemma3_text',
  config,
  facts: (keys) => scalingFacts(rotaryOf(keys).full.scaling, keys),
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
      paddingIdx: paddingIndex(keys),
      queryPreAttnScalar: keys.query_pre_attn_scalar,
      attentionSoftcap: 0,
      logitSoftcap: keys.final_logit_softcapping ?? 0,
      headNorms: true,
      layers: windows.map((window) => ({ window, rotary: window > 0 ? sliding : full })),
      tables: [full, sliding],
    });
  },
});
