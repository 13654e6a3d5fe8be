import { isFloat } from '../../backend/dtype.js';
import type { CrossEntropyOptions } from '../crossEntropyOptions.js';
import { defineOp } from '../op.js';
import { requireFit } from '../shape.js';
import type { Tensor } from '../tensor.js';
import { isFirstLargest } from './labelIsTop.js';
import { logSumExp } from './softmax.js';

/** One row of the reference: its loss, and the gradient of the loss to the raw logits. */
function rowLoss(raw: Float64Array, label: number, options: CrossEntropyOptions) {
  const { smoothing = 0, softcap = 0, dft = false } = options;
  const logits = softcap > 0 ? raw.map((z) => softcap * Math.tanh(z / softcap)) : raw;
  const lse = logSumExp(logits);
  if (label < 0) return { loss: 0, lse, slope: () => 0 };
  const spread = smoothing / raw.length;
  const mean = logits.reduce((sum, z) => sum + z, 0) * spread;
  const nll = lse - (1 - smoothing) * logits[label]! - mean;
  const weight = dft ? Math.exp(logits[label]! - lse) : 1;
  const slope = (v: number) => {
    const z = logits[v]!;
    const cap = softcap > 0 ? 1 - (z / softcap) ** 2 : 1;
    return weight * cap * (Math.exp(z - lse) - spread - (v === label ? 1 - smoothing : 0));
  };
  return { loss: weight * nll, lse, slope };
}

/**
 * Inputs: logits [N, V], labels int32 [N]. Outputs: loss [N], lse [N] (log-sum-exp of each row).
 */
export const crossEntropyOp = defineOp<CrossEntropyOptions>({
  name: 'crossEntropy',
  infer: (inputs) => {
    const [logits, labels] = inputs;
    const fits =
      logits!.shape.length === 2 &&
      labels!.shape.length === 1 &&
      labels!.shape[0] === logits!.shape[0] &&
      !isFloat(labels!.dtype);
    requireFit(fits, 'crossEntropy', inputs, 'Give logits [N, V] and int32 labels [N]');
    const shape = [logits!.shape[0]!];
    return [
      { shape, dtype: 'float32' },
      { shape, dtype: 'float32' },
    ];
  },
  reference: ({ inputs: [logits, labels], outputs: [out, lse], attrs }) => {
    const width = logits!.shape[1]!;
    const data = logits!.data as Float64Array;
    labels!.data.forEach((label, n) => {
      const row = rowLoss(data.subarray(n * width, (n + 1) * width), label, attrs);
      lse!.data[n] = row.lse;
      out!.data[n] = row.loss;
    });
  },
  vjp: ({ inputs: [logits, labels], outputs: [, lse], grads: [g], engine, attrs }) => [
    engine.run(crossEntropyGradOp, [logits!, labels!, lse!, g!], attrs)[0]!,
    null,
  ],
  saves: { inputs: [0, 1], outputs: [1] },
});

/**
 * dlogits = g dLoss/dlogits, zero where the label is negative. Inputs: logits, labels, lse, g [N].
 */
export const crossEntropyGradOp = defineOp<CrossEntropyOptions>({
  name: 'crossEntropyGrad',
  infer: ([logits]) => [{ shape: logits!.shape, dtype: 'float32' }],
  reference: ({ inputs: [logits, labels, , g], outputs: [out], attrs }) => {
    const width = logits!.shape[1]!;
    const data = logits!.data as Float64Array;
    labels!.data.forEach((label, n) => {
      const { slope } = rowLoss(data.subarray(n * width, (n + 1) * width), label, attrs);
      for (let v = 0; v < width; v++)
        out!.data[n * width + v] = label < 0 ? 0 : g!.data[n]! * slope(v);
    });
  },
});

/**
 * Loss and gradient at once, in place. Input: labels int32 [N]. Outputs: logits [N, V], which
 * become scale dLoss/dlogits, and the loss [N]; both zero where the label is negative. A third
 * output [N], where it is given, becomes what `labelIsTop` says of the logits.
 */
export const crossEntropyIntoOp = defineOp<CrossEntropyOptions & { readonly scale: number }>({
  name: 'crossEntropyInto',
  infer: (specs) => {
    const [labels, logits, loss, isTop = loss] = specs;
    const fits =
      logits!.shape.length === 2 &&
      labels!.shape.join() === String(logits!.shape[0]) &&
      loss!.shape.join() === labels!.shape.join() &&
      isTop!.shape.join() === labels!.shape.join() &&
      !isFloat(labels!.dtype) &&
      logits!.dtype === 'float32';
    requireFit(
      fits,
      'crossEntropyInto',
      specs,
      'Give labels [N], float32 logits [N, V], loss [N], and isTop [N] if it is wanted',
    );
    return [];
  },
  reference: ({
    inputs: [labels],
    outputs: [logits, out, isTop],
    attrs: { scale, ...options },
  }) => {
    const width = logits!.shape[1]!;
    const data = logits!.data as Float64Array;
    labels!.data.forEach((label, n) => {
      const row = data.subarray(n * width, (n + 1) * width);
      if (isTop) isTop.data[n] = isFirstLargest(row, label) ? 1 : 0;
      const { loss, slope } = rowLoss(row.slice(), label, options);
      out!.data[n] = loss;
      for (let v = 0; v < width; v++) row[v] = scale * slope(v);
    });
  },
});

/**
 * -log softmax(logits)[label] for each row, 0 where the label is negative (HF's -100: ignored).
 *
 * @param logits [N, V]
 * @param labels int32 [N]
 * @returns [N]; its sum over the count of labels >= 0 is the mean loss of torch's cross_entropy.
 */
export const crossEntropy = (
  logits: Tensor,
  labels: Tensor,
  options: CrossEntropyOptions = {},
): Tensor => logits.engine.run(crossEntropyOp, [logits, labels], options)[0]!;
