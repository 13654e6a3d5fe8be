import type { Tensor } from '@attune/core';
import type { LossOutput } from '@attune/core/training';
import type { Measured } from '../contract/alignmentObjective.js';

/** Metrics as a loss gives them to the Trainer. */
export type Metrics = NonNullable<LossOutput['metrics']>;

/** The sum of a value over the rows of a batch, of which there are so many. No gradient. */
export const mean = (values: Tensor, count: number | Tensor = values.size): Metrics[string] => ({
  sum: values.engine.noGrad(() => values.sum()),
  count,
});

/** The sum over the tokens of some rows, divided by how many these are. No gradient. */
export const tokenMean = (values: Tensor, counts: Tensor): Metrics[string] =>
  values.engine.noGrad(() => ({ sum: values.sum(), count: counts.sum() }));

/** Metrics of a loss: numbers of each row become sums. */
export const measured = (metrics: Readonly<Record<string, Measured>> = {}): Metrics =>
  Object.fromEntries(
    Object.entries(metrics).map(([name, value]) => [
      name,
      'sum' in value && 'count' in value ? value : mean(value as Tensor),
    ]),
  );
