import { defineOp } from '../op.js';
import { numel, requireFit } from '../shape.js';
import type { Tensor } from '../tensor.js';

/** Every number of a step, as data. */
export interface LionAttrs extends Record<string, number> {
  readonly lr: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly weightDecay: number;
}

/**
 * Inputs: grad [n], clip [norm, coefficient, finite]. Updates: parameter and momentum, each [n].
 */
export const lionOp = defineOp<LionAttrs>({
  name: 'lion',
  infer: (specs) => {
    const [grad, clip, ...state] = specs;
    const fits =
      numel(clip!.shape) === 3 && state.every((t) => numel(t.shape) === numel(grad!.shape));
    requireFit(fits, 'lion', specs, 'Give gradient, parameter and momentum [n], clip [3]');
    return [];
  },
  reference: ({ inputs: [grad, clip], outputs: [parameter, momentum], attrs }) => {
    const [, coefficient, finite] = clip!.data;
    if (!finite) return;
    const { lr, beta1, beta2, weightDecay } = attrs;
    for (let i = 0; i < parameter!.data.length; i++) {
      const g = grad!.data[i]! * coefficient!;
      const m = momentum!.data[i]!;
      const direction = Math.sign(beta1 * m + (1 - beta1) * g);
      parameter!.data[i] = parameter!.data[i]! * (1 - lr * weightDecay) - lr * direction;
      momentum!.data[i] = beta2 * m + (1 - beta2) * g;
    }
  },
});

/**
 * One Lion update in place (Chen et al. 2023, arXiv:2302.06675), skipped where the norm is not
 * finite.
 */
export function lion(
  state: { parameter: Tensor; momentum: Tensor },
  grad: Tensor,
  clip: Tensor,
  attrs: LionAttrs,
): void {
  grad.engine.runInto(lionOp, [grad, clip], [state.parameter, state.momentum], attrs);
}
