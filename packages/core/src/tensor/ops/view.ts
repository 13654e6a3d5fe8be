import { defineOp } from '../op.js';

/**
 * A reshape shares memory, so nothing is ever dispatched; the tape only needs its backward rule.
 */
export const reshapeOp = defineOp({
  name: 'reshape',
  infer: (inputs) => inputs,
  decompose: (inputs) => inputs,
  vjp: ({ inputs, grads }) => [grads[0]!.reshape(...inputs[0]!.shape)],
  saves: {},
});
