import type { ComputeDType } from '../../backend/dtype.js';
import type { AttrValue } from '../../backend/opCall.js';
import { defineOp } from '../op.js';
import { numel, requireFit, sameShape } from '../shape.js';
import type { Tensor } from '../tensor.js';
import { matmul } from './matmul.js';
import { swiglu } from './swiglu.js';

export interface LinearsAttrs extends Record<string, AttrValue> {
  /** Two weights: silu(first product) * second product is the one result. */
  readonly gated: boolean;
  /** What x and the weights are rounded to while they are loaded; sums stay float32. */
  readonly compute: ComputeDType;
}

/**
 * y_i = x W_i^T for weights of one shape. Inputs: x [..., K], weights [N, K]. Outputs: [..., N] for
 * each weight, or the gated one alone.
 */
export const linearsOp = defineOp<LinearsAttrs>({
  name: 'linears',
  infer: (specs, { gated }) => {
    const [x, first, ...others] = specs;
    const fits =
      x!.shape.length >= 2 &&
      first?.shape.length === 2 &&
      first.shape[1] === x!.shape.at(-1) &&
      others.every((w) => sameShape(w.shape, first.shape)) &&
      (!gated || others.length === 1);
    requireFit(fits, 'linears', specs, 'Give x [..., K] and weights [N, K], two where one gates');
    const shape = [...x!.shape.slice(0, -1), first!.shape[0]!];
    return (gated ? [first!] : [first!, ...others]).map(() => ({ shape, dtype: 'float32' }));
  },
  flops: ([x, ...weights]) => {
    const rows = numel(x!.shape.slice(0, -1));
    return weights.reduce((sum, { shape }) => sum + 2 * rows * numel(shape), 0);
  },
  decompose: ([x, ...weights], { gated, compute }) => {
    const ys = weights.map((weight) => matmul(x!, weight, { transposeB: true, compute }));
    return gated ? [swiglu(ys[0]!, ys[1]!)] : ys;
  },
});

/** [x W_1^T, x W_2^T, ...] for weights of one shape: x [..., K], W_i [N, K] -> [..., N]. */
export const linears = (x: Tensor, weights: readonly Tensor[]): Tensor[] =>
  x.engine.run(linearsOp, [x, ...weights], { gated: false, compute: x.engine.computeDType });

/** silu(x gate^T) * (x up^T): x [..., K], gate and up [N, K] -> [..., N]. */
export const gatedLinear = (x: Tensor, gate: Tensor, up: Tensor): Tensor =>
  x.engine.run(linearsOp, [x, gate, up], { gated: true, compute: x.engine.computeDType })[0]!;
