import { defineOp } from '../op.js';
import { requireFit, sameShape } from '../shape.js';
import type { Tensor } from '../tensor.js';

export const swigluOp = defineOp({
  name: 'swiglu',
  infer: (inputs) => {
    const [gate, up] = inputs;
    requireFit(sameShape(gate!.shape, up!.shape), 'swiglu', inputs, 'Give gate and up one shape');
    return [{ shape: gate!.shape, dtype: 'float32' }];
  },
  decompose: ([gate, up]) => [gate!.silu().mul(up!)],
  vjp: ({ inputs: [gate, up], grads: [g], engine }) =>
    engine.run(swigluGradOp, [gate!, up!, g!], {}),
});

/** [dGate, dUp] = [g up silu'(gate), g silu(gate)]. */
export const swigluGradOp = defineOp({
  name: 'swigluGrad',
  infer: ([gate]) => [
    { shape: gate!.shape, dtype: 'float32' },
    { shape: gate!.shape, dtype: 'float32' },
  ],
  decompose: ([gate, up, g]) => {
    const s = gate!.sigmoid();
    const slope = s.mul(gate!.mul(s.neg().add(1)).add(1));
    return [g!.mul(up!).mul(slope), g!.mul(gate!.mul(s))];
  },
});

/**
 * silu(gate) * up (Shazeer, arXiv:2002.05202): the gate of Llama's feed-forward block. Equal
 * shapes.
 */
export const swiglu = (gate: Tensor, up: Tensor): Tensor =>
  gate.engine.run(swigluOp, [gate, up], {})[0]!;
