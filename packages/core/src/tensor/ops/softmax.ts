import { defineOp, type OpDef, type ReferenceCall } from '../op.js';
import type { Tensor } from '../tensor.js';

/** Both work on the last axis and subtract the row's maximum before they exponentiate. */
function rowwise(write: (row: Float64Array, out: Float64Array) => void) {
  return ({ inputs, outputs }: ReferenceCall) => {
    const width = inputs[0]!.shape.at(-1)!;
    const x = inputs[0]!.data as Float64Array;
    const y = outputs[0]!.data as Float64Array;
    for (let at = 0; at < x.length; at += width)
      write(x.subarray(at, at + width), y.subarray(at, at + width));
  };
}

/** log(sum(exp(row))). */
export function logSumExp(row: Float64Array): number {
  let top = Number.NEGATIVE_INFINITY;
  for (const v of row) top = Math.max(top, v);
  let total = 0;
  for (const v of row) total += Math.exp(v - top);
  return top + Math.log(total);
}

const sameAsInput: OpDef['infer'] = (inputs) => [{ shape: inputs[0]!.shape, dtype: 'float32' }];

export const softmaxOp = defineOp({
  name: 'softmax',
  infer: sameAsInput,
  reference: rowwise((row, out) => {
    const total = logSumExp(row);
    row.forEach((v, i) => {
      out[i] = Math.exp(v - total);
    });
  }),
  vjp: ({ outputs: [y], grads: [g], engine }) => [engine.run(softmaxGradOp, [y!, g!], {})[0]!],
  saves: { outputs: [0] },
});

/** dx = y (g - sum(g y)), row by row. */
export const softmaxGradOp = defineOp({
  name: 'softmaxGrad',
  infer: sameAsInput,
  decompose: ([y, g]) => [y!.mul(g!.sub(g!.mul(y!).sum(-1, true)))],
});

export const logSoftmaxOp = defineOp({
  name: 'logSoftmax',
  infer: sameAsInput,
  reference: rowwise((row, out) => {
    const total = logSumExp(row);
    row.forEach((v, i) => {
      out[i] = v - total;
    });
  }),
  vjp: ({ outputs: [y], grads: [g] }) => [g!.sub(y!.exp().mul(g!.sum(-1, true)))],
  saves: { outputs: [0] },
});

/** exp(x) / sum(exp(x)) over the last axis. */
export const softmax = (x: Tensor): Tensor => x.engine.run(softmaxOp, [x], {})[0]!;

/** x - log(sum(exp(x))) over the last axis. */
export const logSoftmax = (x: Tensor): Tensor => x.engine.run(logSoftmaxOp, [x], {})[0]!;
