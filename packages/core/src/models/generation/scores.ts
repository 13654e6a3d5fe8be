import { AttuneError } from '../../util/errors.js';
import type { GenerationRules } from './generationRules.js';

/**
 * @param size a sum over the logits of a row, or over their sizes @param step new tokens before
 *   this one
 * @throws GENERATE_NON_FINITE
 */
export function checkLogits(size: number, prompt: number, step: number): void {
  if (Number.isFinite(size)) return;
  throw new AttuneError(
    'GENERATE_NON_FINITE',
    `generate: the logits of prompts[${prompt}] are not finite (NaN or infinity) at new token ${step + 1}.`,
    {
      remedy:
        'The weights are not finite, or the model overflows: load it from a checkpoint that is whole, or with dtype "float32".',
      details: { prompt, step },
    },
  );
}

interface Subject {
  /** The number of the prompt. */
  readonly prompt: number;
  /** New tokens before this one. */
  readonly step: number;
  readonly rules: Pick<GenerationRules, 'removeInvalidValues'>;
}

/**
 * Row r of scores [rows, V] in float64.
 *
 * @throws GENERATE_NON_FINITE unless `removeInvalidValues` sees to them
 */
export function scoresOf(
  values: ArrayLike<number>,
  rows: number,
  r: number,
  { prompt, step, rules }: Subject,
): Float64Array {
  const width = values.length / rows;
  const scores = Float64Array.from({ length: width }, (_, i) => values[r * width + i]!);
  if (!rules.removeInvalidValues)
    checkLogits(
      scores.reduce((size, score) => size + Math.abs(score), 0),
      prompt,
      step,
    );
  return scores;
}
