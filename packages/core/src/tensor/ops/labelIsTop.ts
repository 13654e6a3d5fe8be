import { isFloat } from '../../backend/dtype.js';
import { defineOp } from '../op.js';
import { requireFit } from '../shape.js';
import type { Tensor } from '../tensor.js';

/** Whether no number of the row is larger than that of the label, and none before it as large. */
export const isFirstLargest = (row: Float64Array, label: number): boolean =>
  label >= 0 && !row.some((v, i) => v > row[label]! || (v === row[label]! && i < label));

/**
 * Inputs: logits [N, V], labels int32 [N]. Output [N]: 1 where the label's logit is the first
 * largest of its row, else 0; 0 where the label is negative.
 */
export const labelIsTopOp = defineOp({
  name: 'labelIsTop',
  infer: (inputs) => {
    const [logits, labels] = inputs;
    const fits =
      logits!.shape.length === 2 &&
      labels!.shape.join() === String(logits!.shape[0]) &&
      !isFloat(labels!.dtype);
    requireFit(fits, 'labelIsTop', inputs, 'Give logits [N, V] and int32 labels [N]');
    return [{ shape: labels!.shape, dtype: 'float32' }];
  },
  reference: ({ inputs: [logits, labels], outputs: [out] }) => {
    const width = logits!.shape[1]!;
    labels!.data.forEach((label, n) => {
      const row = (logits!.data as Float64Array).subarray(n * width, (n + 1) * width);
      out!.data[n] = isFirstLargest(row, label) ? 1 : 0;
    });
  },
  vjp: () => [null, null],
  saves: {},
});

/**
 * Whether greedy decoding would have chosen the label: 1 or 0 for each row. Their sum over the
 * count of labels >= 0 is the token accuracy.
 *
 * @param logits [N, V]
 * @param labels int32 [N]; negative ones are never chosen
 * @returns [N]
 */
export const labelIsTop = (logits: Tensor, labels: Tensor): Tensor =>
  logits.engine.run(labelIsTopOp, [logits, labels], {})[0]!;
