import { isFloat } from '../../backend/dtype.js';
import { defineOp } from '../op.js';
import { requireFit } from '../shape.js';
import type { Tensor } from '../tensor.js';

/** Columns of `rowStatistics`, in order. */
export const ROW_STATISTICS = ['entropy', 'meanLogit', 'concentration'] as const;

export type RowStatistic = (typeof ROW_STATISTICS)[number];

/**
 * Inputs: logits [N, V], labels int32 [N]. Output [N, 3]: of each row of z, which is the logits
 * through the cap, and of p = softmax(z)
 *
 * - the entropy -sum p log p, in nats; a logit of -inf adds nothing,
 * - the mean of z,
 * - the concentration log sum p^2.
 *
 * All three are 0 where the label is negative. It has no gradient.
 */
export const rowStatisticsOp = defineOp<{
  /** c > 0: z = c tanh(logits / c). Default 0: z = logits. */
  readonly softcap?: number;
}>({
  name: 'rowStatistics',
  infer: (inputs) => {
    const [logits, labels] = inputs;
    const fits =
      logits!.shape.length === 2 &&
      labels!.shape.join() === String(logits!.shape[0]) &&
      !isFloat(labels!.dtype);
    requireFit(fits, 'rowStatistics', inputs, 'Give logits [N, V] and int32 labels [N]');
    return [{ shape: [labels!.shape[0]!, ROW_STATISTICS.length], dtype: 'float32' }];
  },
  reference: ({ inputs: [logits, labels], outputs: [out], attrs: { softcap = 0 } }) => {
    const width = logits!.shape[1]!;
    labels!.data.forEach((label, n) => {
      if (label < 0) {
        out!.data.fill(0, 3 * n, 3 * n + 3);
        return;
      }
      const raw = (logits!.data as Float64Array).subarray(n * width, (n + 1) * width);
      const row = softcap > 0 ? raw.map((z) => softcap * Math.tanh(z / softcap)) : raw;
      // Differences to the largest, whatever its size.
      const top = row.reduce((most, z) => Math.max(most, z), Number.NEGATIVE_INFINITY);
      let [total, weighted, squares, mean] = [0, 0, 0, 0];
      for (const z of row) {
        const e = Math.exp(z - top);
        total += e;
        if (e !== 0) weighted += e * (z - top);
        squares += e * e;
        mean += z / width;
      }
      const entropy = Math.log(total) - weighted / total;
      out!.data.set([entropy, mean, Math.log(squares) - 2 * Math.log(total)], 3 * n);
    });
  },
  vjp: () => [null, null],
  saves: {},
});

/**
 * Entropy, mean and concentration of each row of logits: see {@link rowStatisticsOp}.
 *
 * @param logits [N, V]
 * @param labels int32 [N]; rows with negative ones are 0
 * @returns [N, 3], not differentiable
 */
export const rowStatistics = (logits: Tensor, labels: Tensor): Tensor =>
  logits.engine.run(rowStatisticsOp, [logits, labels], {})[0]!;
