import { philox, toUnit } from '../../util/rng.js';
import { defineOp, type OpDef } from '../op.js';
import type { Tensor } from '../tensor.js';

export interface DropoutAttrs extends Record<string, number> {
  readonly p: number;
  readonly seed: number;
  /** Which mask of the seed: each call draws the next. */
  readonly draw: number;
}

/**
 * Element i keeps its value when word i mod 4 of philox(counter [i div 4, draw, 0, 1], key [seed,
 * 0]) is >= p.
 */
export const dropoutOp: OpDef<DropoutAttrs> = defineOp({
  name: 'dropout',
  infer: ([x]) => [{ shape: x!.shape, dtype: 'float32' }],
  reference: ({ inputs: [x], outputs: [out], attrs }) => {
    const scale = 1 / (1 - attrs.p);
    for (let i = 0; i < x!.data.length; i += 4) {
      const words = philox([i >>> 2, attrs.draw >>> 0, 0, 1], [attrs.seed >>> 0, 0]);
      for (let j = i; j < Math.min(i + 4, x!.data.length); j++)
        out!.data[j] = toUnit(words[j - i]!) >= attrs.p ? x!.data[j]! * scale : 0;
    }
  },
  // The same mask again: recomputed, not stored.
  vjp: ({ grads, attrs, engine }) => engine.run(dropoutOp, [grads[0]!], attrs),
  saves: {},
});

/**
 * Zeroes each element with probability p and scales the rest by 1/(1-p). The mask follows the
 * engine's seed.
 */
export function dropout(x: Tensor, p: number): Tensor {
  if (p === 0) return x;
  const { engine } = x;
  return engine.run(dropoutOp, [x], { p, seed: engine.seed, draw: engine.nextDropoutDraw() })[0]!;
}
