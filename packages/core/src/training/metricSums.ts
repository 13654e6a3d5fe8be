import type { Tensor } from '../tensor/tensor.js';
import type { LossOutput } from './objective.js';

/** What the sum of a count is called, beside the metric's own: no metric has such a name. */
const COUNT = 'count\0';

/** A sum of the device, and what the host adds to its count. */
export interface DeviceSum {
  readonly name: string;
  readonly sum: Tensor;
  readonly count: number;
}

/**
 * The sums that the device keeps for the metrics of a batch: one each, and one more where the
 * device counts.
 *
 * @param items the count of a metric that gives none
 */
export function deviceSums(
  metrics: NonNullable<LossOutput['metrics']>,
  items: number,
): DeviceSum[] {
  return Object.entries(metrics).flatMap(([name, { sum, count = items }]) =>
    typeof count === 'number'
      ? [{ name, sum, count }]
      : [
          { name, sum, count: 0 },
          { name: COUNT + name, sum: count, count: 0 },
        ],
  );
}

/** What was kept so -> the metrics, each with its sum and its count. */
export function metricSums(
  kept: Iterable<readonly [name: string, { readonly sum: number; readonly count: number }]>,
): Map<string, { readonly sum: number; readonly count: number }> {
  const all = new Map(kept);
  const metrics = new Map<string, { readonly sum: number; readonly count: number }>();
  for (const [name, { sum, count }] of all)
    if (!name.startsWith(COUNT))
      metrics.set(name, { sum, count: count + (all.get(COUNT + name)?.sum ?? 0) });
  return metrics;
}
