import { defineOp } from '../op.js';
import { numel, requireFit } from '../shape.js';
import type { Tensor } from '../tensor.js';

/** `[1]`: the sum of squares of all elements. */
export const sumSquaresOp = defineOp({
  name: 'sumSquares',
  infer: () => [{ shape: [1], dtype: 'float32' }],
  decompose: ([x]) => [x!.square().sum().reshape(1)],
});

export const sumSquares = (x: Tensor): Tensor => x.engine.run(sumSquaresOp, [x], {})[0]!;

/**
 * From sums of squares [n] to [norm, coefficient, finite]: coefficient = min(1, maxNorm / (norm +
 * 1e-6)) as torch.nn.utils.clip_grad_norm_ (1 when maxNorm is 0: no clipping); finite is 1, or 0
 * when the norm is not; the coefficient then means nothing. With a loss scale [scale, ...] as
 * second input the gradients are taken as that many times too large: norm is the true one, and the
 * coefficient divides by the scale.
 */
export const clipFactorOp = defineOp<{ maxNorm: number }>({
  name: 'clipFactor',
  infer: () => [{ shape: [3], dtype: 'float32' }],
  reference: ({ inputs: [sums, lossScale], outputs: [out], attrs }) => {
    const scale = lossScale?.data[0] ?? 1;
    const norm = Math.sqrt((sums!.data as Float64Array).reduce((n, v) => n + v, 0)) / scale;
    out!.data[0] = norm;
    out!.data[1] = (attrs.maxNorm > 0 ? Math.min(1, attrs.maxNorm / (norm + 1e-6)) : 1) / scale;
    out!.data[2] = Number.isFinite(norm) ? 1 : 0;
  },
});

export const clipFactor = (sums: Tensor, maxNorm: number, lossScale?: Tensor | null): Tensor =>
  sums.engine.run(clipFactorOp, lossScale ? [sums, lossScale] : [sums], { maxNorm })[0]!;

export interface GuardAttrs extends Record<string, number> {
  /** 1: after the first update that is not finite, no other one changes anything. */
  readonly sticky: number;
  /**
   * 1: gradients carry a loss scale, whose overflows are expected: then the loss alone decides what
   * sticks.
   */
  readonly scaled: number;
}

/**
 * Input: the loss [1]. Updates: clip [norm, coefficient, finite] and halted [1]. finite becomes 0
 * where the loss is not finite or halted is 1; halted becomes 1 as `sticky` says.
 */
export const guardFiniteOp = defineOp<GuardAttrs>({
  name: 'guardFinite',
  infer: (specs) => {
    const fits = specs.map(({ shape }) => numel(shape)).join() === '1,3,1';
    requireFit(fits, 'guardFinite', specs, 'Give the loss [1], clip [3], halted [1]');
    return [];
  },
  reference: ({ inputs: [loss], outputs: [clip, halted], attrs: { sticky, scaled } }) => {
    const isLossBad = !Number.isFinite(loss!.data[0]);
    const isBad = isLossBad || clip!.data[2] === 0;
    if (isBad || halted!.data[0] === 1) clip!.data[2] = 0;
    if (sticky && (scaled ? isLossBad : isBad)) halted!.data[0] = 1;
  },
});

/** An update whose loss is not finite changes nothing either, whatever its gradient looks like. */
export function guardFinite(loss: Tensor, clip: Tensor, halted: Tensor, attrs: GuardAttrs): void {
  loss.engine.runInto(guardFiniteOp, [loss], [clip, halted], attrs);
}

export interface LossScaleAttrs extends Record<string, number> {
  readonly growth: number;
  readonly backoff: number;
  /** Finite updates in a row after which the scale grows. */
  readonly interval: number;
}

/**
 * Input: clip [norm, coefficient, finite]. Updates the loss scale [scale, finite updates in a row].
 */
export const updateLossScaleOp = defineOp<LossScaleAttrs>({
  name: 'updateLossScale',
  infer: (specs) => {
    const fits = numel(specs[0]!.shape) === 3 && numel(specs[1]!.shape) === 2;
    requireFit(fits, 'updateLossScale', specs, 'Give clip [3] and the loss scale [2]');
    return [];
  },
  reference: ({ inputs: [clip], outputs: [state], attrs: { growth, backoff, interval } }) => {
    const [scale, streak] = state!.data as unknown as [number, number];
    const finite = clip!.data[2] === 1;
    const grows = finite && streak + 1 >= interval;
    state!.data[0] = scale * (finite ? (grows ? growth : 1) : backoff);
    state!.data[1] = finite && !grows ? streak + 1 : 0;
  },
});

/**
 * The rule of torch.amp.GradScaler: halve after an overflow, double after `interval` updates
 * without one.
 */
export function updateLossScale(lossScale: Tensor, clip: Tensor, attrs: LossScaleAttrs): void {
  lossScale.engine.runInto(updateLossScaleOp, [clip], [lossScale], attrs);
}

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

/**
 * Inputs: grad [n], clip [norm, coefficient, finite]. Updates: parameter, first and second moment,
 * each [n].
 */
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

/**
 * One AdamW update in place (Loshchilov and Hutter, arXiv:1711.05101), skipped where the norm is
 * not finite.
 */
export function adamw(
  state: { parameter: Tensor; first: Tensor; second: Tensor },
  grad: Tensor,
  clip: Tensor,
  attrs: AdamWAttrs,
): void {
  grad.engine.runInto(adamwOp, [grad, clip], [state.parameter, state.first, state.second], attrs);
}
