import { isFloat } from '../dtype.js';
import { defineOp } from '../op.js';
import { requireFit } from '../shape.js';
import type { Tensor } from '../tensor.js';
import { logSumExp } from './softmax.js';

/** Inputs: logits [N, V], labels int32 [N]. Outputs: nll [N], lse [N] (log-sum-exp of each row). */
export const crossEntropyOp = defineOp({
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
  reference: ({ inputs: [logits, labels], outputs: [nll, lse] }) => {
    const width = logits!.shape[1]!;
    const data = logits!.data as Float64Array;
    labels!.data.forEach((label, n) => {
      const row = data.subarray(n * width, (n + 1) * width);
      lse!.data[n] = logSumExp(row);
      nll!.data[n] = label < 0 ? 0 : lse!.data[n]! - row[label]!;
    });
  },
  vjp: ({ inputs: [logits, labels], outputs: [, lse], grads: [g], engine }) => [
    engine.run(crossEntropyGradOp, [logits!, labels!, lse!, g!], {})[0]!,
    null,
  ],
  saves: { inputs: [0, 1], outputs: [1] },
});

/** dlogits = g (softmax - onehot(label)), zero where the label is negative. Inputs: logits, labels, lse, g [N]. */
export const crossEntropyGradOp = defineOp({
  name: 'crossEntropyGrad',
  infer: ([logits]) => [{ shape: logits!.shape, dtype: 'float32' }],
  reference: ({ inputs: [logits, labels, lse, g], outputs: [out] }) => {
    const width = logits!.shape[1]!;
    labels!.data.forEach((label, n) => {
      for (let v = 0; v < width; v++) {
        const p = Math.exp(logits!.data[n * width + v]! - lse!.data[n]!);
        out!.data[n * width + v] = label < 0 ? 0 : g!.data[n]! * (p - (v === label ? 1 : 0));
      }
    });
  },
});

/**
 * Loss and gradient at once, in place. Input: labels int32 [N]. Outputs: logits [N, V], which become
 * scale (softmax - onehot(label)), and nll [N]; both zero where the label is negative.
 */
export const crossEntropyIntoOp = defineOp<{ scale: number }>({
  name: 'crossEntropyInto',
  infer: (specs) => {
    const [labels, logits, nll] = specs;
    const fits =
      logits!.shape.length === 2 &&
      labels!.shape.join() === String(logits!.shape[0]) &&
      nll!.shape.join() === labels!.shape.join() &&
      !isFloat(labels!.dtype) &&
      logits!.dtype === 'float32';
    requireFit(fits, 'crossEntropyInto', specs, 'Give labels [N], float32 logits [N, V], nll [N]');
    return [];
  },
  reference: ({ inputs: [labels], outputs: [logits, nll], attrs: { scale } }) => {
    const width = logits!.shape[1]!;
    const data = logits!.data as Float64Array;
    labels!.data.forEach((label, n) => {
      const row = data.subarray(n * width, (n + 1) * width);
      const lse = logSumExp(row);
      nll!.data[n] = label < 0 ? 0 : lse - row[label]!;
      for (let v = 0; v < width; v++)
        row[v] = label < 0 ? 0 : scale * (Math.exp(row[v]! - lse) - (v === label ? 1 : 0));
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
export const crossEntropy = (logits: Tensor, labels: Tensor): Tensor =>
  logits.engine.run(crossEntropyOp, [logits, labels], {})[0]!;
