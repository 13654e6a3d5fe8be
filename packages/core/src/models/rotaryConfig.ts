import { z } from 'zod';
import type { RopeScaling } from '../nn/rotary.js';
import { AttuneError } from '../util/errors.js';

const positive = z.number().positive();

/**
 * Rotary embeddings in a config.json: `rope_theta` and `rope_scaling` as transformers 4 writes them, or
 * `rope_parameters` with the theta inside, as transformers 5 does.
 */
export const rotaryKeys = {
  rope_theta: positive.nullish(),
  rope_scaling: z.record(z.string(), z.unknown()).nullish(),
  rope_parameters: z.record(z.string(), z.unknown()).nullish(),
};

interface RotaryKeys {
  readonly rope_theta?: number | null | undefined;
  readonly rope_scaling?: Record<string, unknown> | null | undefined;
  readonly rope_parameters?: Record<string, unknown> | null | undefined;
}

const linear = z.object({ factor: positive });
const llama3 = z.object({
  factor: positive,
  low_freq_factor: positive,
  high_freq_factor: positive,
  original_max_position_embeddings: positive,
});

const supported = ['default', 'linear', 'llama3'];

/** @throws ROPE_UNSUPPORTED for another type: other frequencies would give another model */
export function rotaryFromConfig(config: RotaryKeys): { theta: number; scaling: RopeScaling } {
  const parameters = config.rope_parameters ?? config.rope_scaling ?? {};
  const key = config.rope_parameters ? 'rope_parameters' : 'rope_scaling';
  const type = parameters.rope_type ?? parameters.type ?? 'default';
  const theta = positive.parse(parameters.rope_theta ?? config.rope_theta ?? 10000);
  const turned = parameters.partial_rotary_factor ?? 1;
  if (turned !== 1)
    throw new AttuneError(
      'ROPE_UNSUPPORTED',
      `config.json: ${key}.partial_rotary_factor is ${String(turned)}; this family turns whole heads.`,
      { remedy: 'Use a checkpoint with partial_rotary_factor 1, or write a model family for it.' },
    );
  const parse = <S extends z.ZodType>(schema: S): z.output<S> => {
    const result = schema.safeParse(parameters);
    if (result.success) return result.data;
    throw new AttuneError(
      'CONFIG_INVALID',
      `config.json: ${key} of type "${String(type)}": ${result.error.issues.map((i) => `${i.path.join('.')}: ${i.message}`).join('; ')}.`,
      { remedy: 'Use the config.json that came with the checkpoint.', cause: result.error },
    );
  };
  switch (type) {
    case 'default':
      return { theta, scaling: { type: 'default' } };
    case 'linear':
      return { theta, scaling: { type: 'linear', ...parse(linear) } };
    case 'llama3': {
      const found = parse(llama3);
      return {
        theta,
        scaling: {
          type: 'llama3',
          factor: found.factor,
          lowFreqFactor: found.low_freq_factor,
          highFreqFactor: found.high_freq_factor,
          originalMaxPositionEmbeddings: found.original_max_position_embeddings,
        },
      };
    }
    default:
      throw new AttuneError(
        'ROPE_UNSUPPORTED',
        `config.json: ${key} asks for rotary embeddings of type ${JSON.stringify(type)}; supported are ${supported.join(', ')}.`,
        {
          remedy:
            'Use a checkpoint without it. Leaving the key out would load, and compute another model.',
        },
      );
  }
}
