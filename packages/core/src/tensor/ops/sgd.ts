import { defineOp } from '../op.js';
import { numel, requireFit } from '../shape.js';
import type { Tensor } from '../tensor.js';

/** Every number of a step, as data. */
export interface SgdAttrs extends Record<string, number> {
  readonly lr: number;
  readonly momentum: number;
  readonly dampening: number;
  /** 1: the gradient plus `momentum` times the buffer; 0: the buffer. */
  readonly nesterov: number;
  /** Added to the gradient: g += weightDecay * parameter. */
  readonly weightDecay: number;
  /** 1 in the first update: the buffer becomes the gradient, whole. */
  readonly first: number;
}

/**
 * Inputs: grad [n], clip [norm, coefficient, finite]. Updates: parameter [n] and, with momentum,
 * its buffer [n].
 */
export const sgdOp = defineOp<SgdAttrs>({
  name: 'sgd',
  infer: (specs) => {
    const [grad, clip, ...state] = specs;
    const fits =
      numel(clip!.shape) === 3 && state.every((t) => numel(t.shape) === numel(grad!.shape));
    requireFit(fits, 'sgd', specs, 'Give gradient, parameter and buffer [n], clip [3]');
    return [];
  },
  reference: ({ inputs: [grad, clip], outputs: [parameter, buffer], attrs }) => {
    const [, coefficient, finite] = clip!.data;
    if (!finite) return;
    const { lr, momentum, dampening, nesterov, weightDecay, first } = attrs;
    for (let i = 0; i < parameter!.data.length; i++) {
      const p = parameter!.data[i]!;
      const g = grad!.data[i]! * coefficient! + weightDecay * p;
      let direction = g;
      if (buffer) {
        const held = first ? g : momentum * buffer.data[i]! + (1 - dampening) * g;
        buffer.data[i] = held;
        direction = nesterov ? g + momentum * held : held;
      }
      parameter!.data[i] = p - lr * direction;
    }
  },
});

/** One update of torch.optim.SGD in place, skipped where the norm is not finite. */
export function sgd(
  state: { parameter: Tensor; buffer: Tensor | null },
  grad: Tensor,
  clip: Tensor,
  attrs: SgdAttrs,
): void {
  const { parameter, buffer } = state;
  grad.engine.runInto(sgdOp, [grad, clip], buffer ? [parameter, buffer] : [parameter], attrs);
}
