import { defineOp, type TensorSpec } from '../op.js';
import { numel, requireFit, type Shape, sameShape } from '../shape.js';
import type { Tensor } from '../tensor.js';

interface NormAttrs extends Record<string, number> {
  readonly eps: number;
}

const rows = (shape: Shape) => [numel(shape.slice(0, -1))];

/** Each of `vectors` must be [D]. */
function check(op: string, inputs: readonly TensorSpec[]): void {
  const [x, ...vectors] = inputs;
  const width = x!.shape.at(-1);
  const fits =
    width !== undefined && vectors.every((v) => v.shape.length === 1 && v.shape[0] === width);
  requireFit(fits, op, inputs, 'Give x [..., D] and weight (and bias) [D]');
}

const byRow = (statistic: Tensor, x: Tensor) => statistic.reshape(...x.shape.slice(0, -1), 1);
const allButLast = (x: Tensor) => x.shape.slice(0, -1).map((_, i) => i);

/**
 * Root-mean-square norm (Zhang and Sennrich, arXiv:1910.07467). Outputs: y [..., D], rstd [rows].
 */
export const rmsNormOp = defineOp<NormAttrs>({
  name: 'rmsNorm',
  infer: (inputs) => {
    check('rmsNorm', inputs);
    const { shape } = inputs[0]!;
    return [
      { shape, dtype: 'float32' },
      { shape: rows(shape), dtype: 'float32' },
    ];
  },
  decompose: ([x, weight], { eps }) => {
    const rstd = x!.square().mean(-1, true).add(eps).rsqrt();
    return [x!.mul(rstd).mul(weight!), rstd.reshape(-1)];
  },
  vjp: ({ inputs: [x, weight], outputs: [, rstd], grads: [g], needs, engine }) => [
    needs[0] ? engine.run(rmsNormGradOp, [x!, weight!, rstd!, g!], {})[0]! : null,
    needs[1] ? engine.run(rmsNormWeightGradOp, [x!, rstd!, g!], {})[0]! : null,
  ],
  saves: { inputs: [0, 1], outputs: [1] },
});

/**
 * A residual sum and its norm: s = x + r, y = s rstd(s) w. Inputs: x and r [..., D], weight [D].
 * Outputs: s and y [..., D], rstd [rows].
 */
export const addRmsNormOp = defineOp<NormAttrs>({
  name: 'addRmsNorm',
  infer: (inputs) => {
    const [x, r, weight] = inputs as [TensorSpec, TensorSpec, TensorSpec];
    const fits = sameShape(x.shape, r.shape) && weight.shape.join() === String(x.shape.at(-1));
    requireFit(fits, 'addRmsNorm', inputs, 'Give x and r of one shape [..., D] and weight [D]');
    return [
      { shape: x.shape, dtype: 'float32' },
      { shape: x.shape, dtype: 'float32' },
      { shape: rows(x.shape), dtype: 'float32' },
    ];
  },
  decompose: ([x, r, weight], attrs, engine) => {
    const sum = x!.add(r!);
    return [sum, ...engine.run(rmsNormOp, [sum, weight!], attrs)];
  },
  vjp: ({ inputs: [, , weight], outputs: [sum, , rstd], grads: [gSum, g], needs, engine }) => {
    if (!g) return [gSum!, gSum!, null];
    const carry = gSum ? [gSum] : [];
    const dx =
      needs[0] || needs[1]
        ? engine.run(rmsNormGradOp, [sum!, weight!, rstd!, g, ...carry], {})[0]!
        : null;
    const dw = needs[2] ? engine.run(rmsNormWeightGradOp, [sum!, rstd!, g], {})[0]! : null;
    return [dx, dx, dw];
  },
  saves: { inputs: [2], outputs: [0, 2] },
});

/**
 * dx = r (g w) - x r^3 mean(g w x) + carry, r = rstd. Inputs: x, weight, rstd, g, optionally carry.
 */
export const rmsNormGradOp = defineOp({
  name: 'rmsNormGrad',
  infer: ([x]) => [{ shape: x!.shape, dtype: 'float32' }],
  decompose: ([x, weight, rstdRows, g, carry]) => {
    const rstd = byRow(rstdRows!, x!);
    const gw = g!.mul(weight!);
    const dot = gw.mul(x!).mean(-1, true).mul(rstd.square());
    const dx = gw.sub(x!.mul(dot)).mul(rstd);
    return [carry ? dx.add(carry) : dx];
  },
});

/** dw = sum over rows of g x rstd. Inputs: x, rstd, g. Output: [D]. */
export const rmsNormWeightGradOp = defineOp({
  name: 'rmsNormWeightGrad',
  infer: ([x]) => [{ shape: [x!.shape.at(-1)!], dtype: 'float32' }],
  decompose: ([x, rstd, g]) => [g!.mul(x!).mul(byRow(rstd!, x!)).sum(allButLast(x!))],
});

/** y = x / sqrt(mean(x^2) + eps) * weight over the last axis; x [..., D], weight [D]. */
export const rmsNorm = (x: Tensor, weight: Tensor, eps: number): Tensor =>
  x.engine.run(rmsNormOp, [x, weight], { eps })[0]!;

/** x + r and its {@link rmsNorm}: [sum, normed]. One pass over memory instead of two. */
export function addRmsNorm(x: Tensor, r: Tensor, weight: Tensor, eps: number): [Tensor, Tensor] {
  const [sum, normed] = x.engine.run(addRmsNormOp, [x, r, weight], { eps });
  return [sum!, normed!];
}

/** Layer norm (Ba et al., arXiv:1607.06450). Outputs: y [..., D], mean [rows], rstd [rows]. */
export const layerNormOp = defineOp<NormAttrs>({
  name: 'layerNorm',
  infer: (inputs) => {
    check('layerNorm', inputs);
    const { shape } = inputs[0]!;
    return [
      { shape, dtype: 'float32' },
      { shape: rows(shape), dtype: 'float32' },
      { shape: rows(shape), dtype: 'float32' },
    ];
  },
  decompose: ([x, weight, bias], { eps }) => {
    const mean = x!.mean(-1, true);
    const centred = x!.sub(mean);
    const rstd = centred.square().mean(-1, true).add(eps).rsqrt();
    return [centred.mul(rstd).mul(weight!).add(bias!), mean.reshape(-1), rstd.reshape(-1)];
  },
  vjp: ({ inputs: [x, weight], outputs: [, mean, rstd], grads: [g], needs, engine }) => {
    const normalised = () => x!.sub(byRow(mean!, x!)).mul(byRow(rstd!, x!));
    return [
      needs[0] ? engine.run(layerNormGradOp, [x!, weight!, mean!, rstd!, g!], {})[0]! : null,
      needs[1] ? g!.mul(normalised()).sum(allButLast(x!)) : null,
      needs[2] ? g!.sum(allButLast(x!)) : null,
    ];
  },
  saves: { inputs: [0, 1], outputs: [1, 2] },
});

/** dx = r (gw - mean(gw) - xhat mean(gw xhat)). Inputs: x, weight, mean, rstd, g. */
export const layerNormGradOp = defineOp({
  name: 'layerNormGrad',
  infer: ([x]) => [{ shape: x!.shape, dtype: 'float32' }],
  decompose: ([x, weight, mean, rstdRows, g]) => {
    const rstd = byRow(rstdRows!, x!);
    const xhat = x!.sub(byRow(mean!, x!)).mul(rstd);
    const gw = g!.mul(weight!);
    const inner = gw.sub(gw.mean(-1, true)).sub(xhat.mul(gw.mul(xhat).mean(-1, true)));
    return [inner.mul(rstd)];
  },
});

/** y = (x - mean) / sqrt(var + eps) * weight + bias over the last axis; var is the biased one. */
export const layerNorm = (x: Tensor, weight: Tensor, bias: Tensor, eps: number): Tensor =>
  x.engine.run(layerNormOp, [x, weight, bias], { eps })[0]!;
