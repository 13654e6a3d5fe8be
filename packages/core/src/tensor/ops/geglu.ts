import type { AttrValue } from '../../backend/opCall.js';
import { defineOp } from '../op.js';
import { requireFit, sameShape } from '../shape.js';
import type { Tensor } from '../tensor.js';
import { geluGradOp, geluTanhGradOp } from './elementwise.js';

export interface GegluAttrs extends Record<string, AttrValue> {
  /** 'none': with the error function. 'tanh': its usual approximation, as Gemma has it. */
  readonly approximate: 'none' | 'tanh';
}

export const gegluOp = defineOp<GegluAttrs>({
  name: 'geglu',
  infer: (inputs) => {
    const [gate, up] = inputs;
    requireFit(sameShape(gate!.shape, up!.shape), 'geglu', inputs, 'Give gate and up one shape');
    return [{ shape: gate!.shape, dtype: 'float32' }];
  },
  decompose: ([gate, up], { approximate }) => [gate!.gelu(approximate).mul(up!)],
  vjp: ({ inputs: [gate, up], grads: [g], attrs, engine }) =>
    engine.run(gegluGradOp, [gate!, up!, g!], attrs),
});

/** [dGate, dUp] = [g up gelu'(gate), g gelu(gate)]. */
export const gegluGradOp = defineOp<GegluAttrs>({
  name: 'gegluGrad',
  infer: ([gate]) => [
    { shape: gate!.shape, dtype: 'float32' },
    { shape: gate!.shape, dtype: 'float32' },
  ],
  decompose: ([gate, up, g], { approximate }, engine) => {
    const slopeOp = approximate === 'tanh' ? geluTanhGradOp : geluGradOp;
    const slope = engine.run(slopeOp, [gate!], {})[0]!;
    return [g!.mul(up!).mul(slope), g!.mul(gate!.gelu(approximate))];
  },
});

/**
 * gelu(gate) * up (Shazeer, arXiv:2002.05202): the gate of Gemma's feed-forward block. Equal
 * shapes.
 *
 * @param approximate as torch's gelu. Default 'none'
 */
export const geglu = (
  gate: Tensor,
  up: Tensor,
  { approximate = 'none' }: Partial<GegluAttrs> = {},
): Tensor => gate.engine.run(gegluOp, [gate, up], { approximate })[0]!;
