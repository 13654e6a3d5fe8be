import { z } from 'zod';
import type { RopeScaling } from '../../nn/rotary.js';
import { AttuneError } from '../../util/errors.js';

const positive = z.number().positive();

/**
 * Rotary embeddings in a config.json: `rope_theta` and `rope_scaling` as transformers 4 writes
 * them, or `rope_parameters` with the theta inside, as transformers 5 does. Where both are there,
 * `rope_scaling` counts.
 */
export const rotaryKeys = {
  rope_theta: positive.nullish(),
  rope_scaling: z.record(z.string(), z.unknown()).nullish(),
  rope_parameters: z.record(z.string(), z.unknown()).nullish(),
  partial_rotary_factor: positive.max(1).nullish(),
  original_max_position_embeddings: positive.nullish(),
};

const general = z.object({ theta: positive, partial_rotary_factor: positive.max(1) });

const original = { original_max_position_embeddings: positive };

/** What each type has beside theta, as it is called in files -> here. */
const schemas = {
  default: z.object({}).transform((): RopeScaling => ({ type: 'default' })),
  linear: z
    .object({ factor: positive })
    .transform(({ factor }): RopeScaling => ({ type: 'linear', factor })),
  proportional: z
    .object({ factor: positive.default(1), partial_rotary_factor: z.number().min(0).max(1) })
    .transform(
      (c): RopeScaling => ({
        type: 'proportional',
        factor: c.factor,
        rotaryFactor: c.partial_rotary_factor,
      }),
    ),
  dynamic: z.object({ factor: positive, max_position_embeddings: positive }).transform(
    (c): RopeScaling => ({
      type: 'dynamic',
      factor: c.factor,
      originalMaxPositionEmbeddings: c.max_position_embeddings,
    }),
  ),
  llama3: z
    .object({
      factor: positive,
      low_freq_factor: positive,
      high_freq_factor: positive,
      ...original,
    })
    .transform(
      (c): RopeScaling => ({
        type: 'llama3',
        factor: c.factor,
        lowFreqFactor: c.low_freq_factor,
        highFreqFactor: c.high_freq_factor,
        originalMaxPositionEmbeddings: c.original_max_position_embeddings,
      }),
    ),
  yarn: z
    .object({
      /** null: max_position_embeddings / original_max_position_embeddings. */
      factor: positive.nullable(),
      attention_factor: positive.nullish(),
      /** 0 and null: the default. */
      beta_fast: z.number().nonnegative().nullish(),
      beta_slow: z.number().nonnegative().nullish(),
      mscale: z.number().nullish(),
      mscale_all_dim: z.number().nullish(),
      truncate: z.boolean().default(true),
      max_position_embeddings: positive.nullish(),
      ...original,
    })
    .transform((c): RopeScaling => {
      const old = c.original_max_position_embeddings;
      const factor = c.factor ?? (c.max_position_embeddings ?? old) / old;
      return {
        type: 'yarn',
        factor,
        attentionFactor: c.attention_factor ?? yarnAttention(factor, c.mscale, c.mscale_all_dim),
        betaFast: c.beta_fast || 32,
        betaSlow: c.beta_slow || 1,
        truncate: c.truncate,
        originalMaxPositionEmbeddings: old,
      };
    }),
  longrope: z
    .object({
      short_factor: z.array(positive),
      long_factor: z.array(positive),
      factor: positive.nullish(),
      attention_factor: positive.nullish(),
      max_position_embeddings: positive.nullish(),
      ...original,
    })
    .transform((c): RopeScaling => {
      const old = c.original_max_position_embeddings;
      const factor = c.factor ?? (c.max_position_embeddings ?? old) / old;
      const suggested = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(old));
      return {
        type: 'longrope',
        shortFactor: c.short_factor,
        longFactor: c.long_factor,
        attentionFactor: c.attention_factor ?? suggested,
        originalMaxPositionEmbeddings: old,
      };
    }),
};

type RopeType = keyof typeof schemas;

/** 0.1 m ln(factor) + 1; DeepSeek's configs give two m and mean the quotient. */
function yarnAttention(
  factor: number,
  mscale: number | null | undefined,
  mscaleAllDim: number | null | undefined,
): number {
  const of = (m: number) => (factor <= 1 ? 1 : 0.1 * m * Math.log(factor) + 1);
  return mscale && mscaleAllDim ? of(mscale) / of(mscaleAllDim) : of(1);
}

interface RotaryKeys {
  readonly rope_theta?: number | null | undefined;
  readonly rope_scaling?: Record<string, unknown> | null | undefined;
  readonly rope_parameters?: Record<string, unknown> | null | undefined;
  readonly partial_rotary_factor?: number | null | undefined;
  readonly original_max_position_embeddings?: number | null | undefined;
  readonly max_position_embeddings?: number | undefined;
}

export interface RotarySettings {
  readonly theta: number;
  readonly scaling: RopeScaling;
  /** The share of a head's features that turns. */
  readonly partialRotaryFactor: number;
}

interface RotaryDefaults {
  /** Default 10000. */
  readonly theta?: number;
  /** Whether the family can turn a part of each head. Default false. */
  readonly partial?: boolean;
}

/**
 * The rotary embeddings of a config as transformers 5.23 reads it: a `rope_scaling` with anything
 * in it takes the place of `rope_parameters`, its theta too; what it lacks stands beside it or has
 * the family's default.
 *
 * @throws ROPE_UNSUPPORTED for another type: other frequencies would give another model;
 *   CONFIG_INVALID
 */
export function rotaryFromConfig(
  config: RotaryKeys,
  { theta: defaultTheta = 10000, partial = false }: RotaryDefaults = {},
): RotarySettings {
  const old = config.rope_scaling && Object.keys(config.rope_scaling).length > 0;
  const key = old ? 'rope_scaling' : 'rope_parameters';
  const parameters = config[key] ?? {};
  const type = parameters.rope_type ?? parameters.type ?? 'default';
  const found = general.safeParse({
    theta: parameters.rope_theta ?? config.rope_theta ?? defaultTheta,
    partial_rotary_factor: parameters.partial_rotary_factor ?? config.partial_rotary_factor ?? 1,
  });
  if (!found.success) throw invalid(key, type, found.error);
  const { theta, partial_rotary_factor: share } = found.data;
  // Transformers passes over it in a family that turns whole heads, where there is no scaling.
  const isPart = share !== 1 && type !== 'default' && type !== 'proportional';
  if (isPart && !partial)
    throw new AttuneError(
      'ROPE_UNSUPPORTED',
      `config.json: ${key}.partial_rotary_factor is ${share}; this family turns whole heads.`,
      { remedy: 'Use a checkpoint with partial_rotary_factor 1, or write a model family for it.' },
    );
  const schema = Object.hasOwn(schemas, String(type)) ? schemas[type as RopeType] : null;
  if (!schema)
    throw new AttuneError(
      'ROPE_UNSUPPORTED',
      `config.json: ${key} asks for rotary embeddings of type ${JSON.stringify(type)}; supported are ${Object.keys(schemas).join(', ')}.`,
      {
        remedy:
          'Use a checkpoint without it. Leaving the key out would load, and compute another model.',
      },
    );
  const longest = config.max_position_embeddings;
  const result = schema.safeParse({
    ...parameters,
    max_position_embeddings: longest,
    partial_rotary_factor: share,
    // Phi-3 has it beside the scaling, and there it counts.
    original_max_position_embeddings:
      config.original_max_position_embeddings ??
      parameters.original_max_position_embeddings ??
      longest,
  });
  if (!result.success) throw invalid(key, type, result.error);
  return { theta, scaling: result.data, partialRotaryFactor: partial ? share : 1 };
}

/**
 * Tokens that a sequence may have. max_position_embeddings, but for scalings whose configs keep the
 * original length there: yarn and dynamic reach `factor` times as far.
 */
export function longestSequence(
  scaling: RopeScaling,
  { max_position_embeddings: longest }: { readonly max_position_embeddings: number },
): number {
  if (scaling.type !== 'yarn' && scaling.type !== 'dynamic') return longest;
  const { factor, originalMaxPositionEmbeddings } = scaling;
  return Math.max(longest, Math.floor(factor * originalMaxPositionEmbeddings));
}

const invalid = (key: string, type: unknown, error: z.ZodError): AttuneError =>
  new AttuneError(
    'CONFIG_INVALID',
    `config.json: ${key} of type "${String(type)}": ${error.issues.map((i) => `${i.path.join('.')}: ${i.message}`).join('; ')}.`,
    { remedy: 'Use the config.json that came with the checkpoint.', cause: error },
  );
