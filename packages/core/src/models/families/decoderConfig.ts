import { z } from 'zod';
import type { RopeScaling } from '../../nn/rotary.js';
import type { DecoderOptions } from '../../nn/rotaryDecoder.js';
import { AttuneError } from '../../util/errors.js';
import { longestSequence, rotaryFromConfig, rotaryKeys } from './rotaryConfig.js';

const size = z.int().positive();

/** The keys that Llama and its relatives share. A family extends this with its own. */
export const decoderConfig = z.object({
  vocab_size: size,
  hidden_size: size,
  intermediate_size: size,
  num_hidden_layers: size,
  num_attention_heads: size,
  /** Default: as many as num_attention_heads. */
  num_key_value_heads: size.nullish(),
  /** Default: hidden_size / num_attention_heads. */
  head_dim: size.nullish(),
  max_position_embeddings: size,
  rms_norm_eps: z.number().positive().default(1e-6),
  hidden_act: z.literal('silu').default('silu'),
  pad_token_id: z.int().nullish(),
  /** Attention masks of training only; not implemented, so only 0 is accepted. */
  attention_dropout: z.literal(0).nullish(),
  ...rotaryKeys,
});

/** What a family adds to the sizes in its config.json. */
export type DecoderChoices = Pick<
  DecoderOptions,
  | 'dtype'
  | 'tieWordEmbeddings'
  | 'qkvBias'
  | 'outputBias'
  | 'mlpBias'
  | 'windows'
  | 'rotaryLayers'
  | 'headNorms'
  | 'outputHead'
>;

/**
 * config.json -> sizes of the blocks.
 *
 * @throws CONFIG_INVALID where sizes do not divide, ROPE_UNSUPPORTED
 */
export function decoderOptions(
  config: z.output<typeof decoderConfig>,
  rest: DecoderChoices,
): DecoderOptions {
  const { theta, scaling } = rotaryFromConfig(config);
  return {
    vocabSize: config.vocab_size,
    hiddenSize: config.hidden_size,
    intermediateSize: config.intermediate_size,
    numHiddenLayers: config.num_hidden_layers,
    ...headSizes(config),
    rmsNormEps: config.rms_norm_eps,
    ropeTheta: theta,
    ropeScaling: scaling,
    maxPositionEmbeddings: longestSequence(scaling, config),
    paddingIdx: paddingIndex(config),
    ...rest,
  };
}

/**
 * The row of the embedding that is not trained by looking it up: that of the padding token, as
 * `nn.Embedding` takes it from transformers: a negative id counts from the end of the table. An id
 * that the table does not have, at which transformers fails, is no row.
 */
export function paddingIndex(config: {
  readonly vocab_size: number;
  readonly pad_token_id?: number | null | undefined;
}): number | null {
  const { vocab_size: rows, pad_token_id: id } = config;
  if (id === undefined || id === null || id >= rows || id < -rows) return null;
  return id < 0 ? rows + id : id;
}

/** Heads and their width, where the config leaves them to be derived. @throws CONFIG_INVALID */
export function headSizes(config: {
  readonly hidden_size: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads?: number | null | undefined;
  readonly head_dim?: number | null | undefined;
}): Pick<DecoderOptions, 'numAttentionHeads' | 'numKeyValueHeads' | 'headDim'> {
  const heads = config.num_attention_heads;
  const keyValueHeads = config.num_key_value_heads ?? heads;
  mustDivide('num_attention_heads', heads, 'num_key_value_heads', keyValueHeads);
  if (!config.head_dim) mustDivide('hidden_size', config.hidden_size, 'num_attention_heads', heads);
  return {
    numAttentionHeads: heads,
    numKeyValueHeads: keyValueHeads,
    headDim: config.head_dim ?? config.hidden_size / heads,
  };
}

/** Facts of a family with rotary positions: how far they reach, and where they change. */
export const rotaryFacts = (
  config: Parameters<typeof rotaryFromConfig>[0] & { readonly max_position_embeddings: number },
  defaults?: Parameters<typeof rotaryFromConfig>[1],
) => scalingFacts(rotaryFromConfig(config, defaults).scaling, config);

export function scalingFacts(
  scaling: RopeScaling,
  config: { readonly max_position_embeddings: number },
) {
  return {
    maxPositionEmbeddings: longestSequence(scaling, config),
    cacheSwitchLength: scaling.type === 'longrope' ? scaling.originalMaxPositionEmbeddings : null,
  };
}

function mustDivide(name: string, value: number, by: string, divisor: number): void {
  if (value % divisor !== 0)
    throw new AttuneError(
      'CONFIG_INVALID',
      `config.json: ${name} (${value}) is not a multiple of ${by} (${divisor}).`,
      { remedy: 'Use the config.json that came with the checkpoint.' },
    );
}
