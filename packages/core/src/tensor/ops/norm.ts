import { defineOp, type TensorSpec } from '../op.js';
import { numel, requireFit, type Shape } from '../shape.js';
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

/** Root-mean-square norm (Zhang and Sennrich, arXiv:1910.07467). Outputs: y [..., D], rstd [rows]. */
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
    needs[1] ? g!.mul(x!).mul(byRow(rstd!, x!)).sum(allButLast(x!)) : null,
  ],
  saves: { inputs: [0, 1], outputs: [1] },
});

/** dx = r (g w) - x r^3 mean(g w x), r = rstd. Inputs: x, weight, rstd, g. */
export const rmsNormGradOp = defineOp({
  name: 'rmsNormGrad',
  infer: ([x]) => [{ shape: x!.shape, dtype: 'float32' }],
  decompose: ([x, weight, rstdRows, g]) => {
    const rstd = byRow(rstdRows!, x!);
    const gw = g!.mul(weight!);
    const dot = gw.mul(x!).mean(-1, true).mul(rstd.square());
    return [gw.sub(x!.mul(dot)).mul(rstd)];
  },
});

/** y = x / sqrt(mean(x^2) + eps) * weight over the last axis; x [..., D], weight [D]. */
export const rmsNorm = (x: Tensor, weight: Tensor, eps: number): Tensor =>
  x.engine.run(rmsNormOp, [x, weight], { eps })[0]!;

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
