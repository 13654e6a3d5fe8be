import { defineOp } from '../op.js';
import { numel, requireFit } from '../shape.js';
import type { Tensor } from '../tensor.js';

/** [1]: the sum of squares of all elements. */
export const sumSquaresOp = defineOp({
  name: 'sumSquares',
  infer: () => [{ shape: [1], dtype: 'float32' }],
  decompose: ([x]) => [x!.square().sum().reshape(1)],
});

export const sumSquares = (x: Tensor): Tensor => x.engine.run(sumSquaresOp, [x], {})[0]!;

/**
 * From sums of squares [n] to [norm, coefficient, finite]: coefficient = min(1, maxNorm / (norm + 1e-6))
 * as torch.nn.utils.clip_grad_norm_ (1 when maxNorm is 0: no clipping); finite is 1, or 0 when the norm is not;
 * the coefficient then means nothing.
 */
export const clipFactorOp = defineOp<{ maxNorm: number }>({
  name: 'clipFactor',
  infer: () => [{ shape: [3], dtype: 'float32' }],
  reference: ({ inputs: [sums], outputs: [out], attrs }) => {
    const norm = Math.sqrt((sums!.data as Float64Array).reduce((n, v) => n + v, 0));
    out!.data[0] = norm;
    out!.data[1] = attrs.maxNorm > 0 ? Math.min(1, attrs.maxNorm / (norm + 1e-6)) : 1;
    out!.data[2] = Number.isFinite(norm) ? 1 : 0;
  },
});

export const clipFactor = (sums: Tensor, maxNorm: number): Tensor =>
  sums.engine.run(clipFactorOp, [sums], { maxNorm })[0]!;

/** Every number of a step, as data. */
export interface AdamWAttrs extends Record<string, number> {
  readonly lr: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weightDecay: number;
  /** 1 - beta1^step. */
  readonly biasCorrection1: number;
  /** 1 - beta2^step. */
  readonly biasCorrection2: number;
}

/** Inputs: grad [n], clip [norm, coefficient, finite]. Updates: parameter, first and second moment, each [n]. */
export const adamwOp = defineOp<AdamWAttrs>({
  name: 'adamw',
  infer: (specs) => {
    const [grad, clip, ...state] = specs;
    const fits =
      numel(clip!.shape) === 3 && state.every((t) => numel(t.shape) === numel(grad!.shape));
    requireFit(fits, 'adamw', specs, 'Give gradient, parameter and moments [n], clip [3]');
    return [];
  },
  reference: ({ inputs: [grad, clip], outputs: [parameter, first, second], attrs }) => {
    const [, coefficient, finite] = clip!.data;
    if (!finite) return;
    const { lr, beta1, beta2, eps, weightDecay, biasCorrection1, biasCorrection2 } = attrs;
    for (let i = 0; i < parameter!.data.length; i++) {
      const g = grad!.data[i]! * coefficient!;
      const m = beta1 * first!.data[i]! + (1 - beta1) * g;
      const v = beta2 * second!.data[i]! + (1 - beta2) * g * g;
      const denominator = Math.sqrt(v) / Math.sqrt(biasCorrection2) + eps;
      first!.data[i] = m;
      second!.data[i] = v;
      parameter!.data[i] =
        parameter!.data[i]! * (1 - lr * weightDecay) - ((lr / biasCorrection1) * m) / denominator;
    }
  },
});

/** One AdamW update in place (Loshchilov and Hutter, arXiv:1711.05101), skipped where the norm is not finite. */
export function adamw(
  state: { parameter: Tensor; first: Tensor; second: Tensor },
  grad: Tensor,
  clip: Tensor,
  attrs: AdamWAttrs,
): void {
  grad.engine.runInto(adamwOp, [grad, clip], [state.parameter, state.first, state.second], attrs);
}
