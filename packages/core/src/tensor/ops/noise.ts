import { philox, toUnit } from '../../util/rng.js';
import { defineOp, type OpDef } from '../op.js';
import type { Tensor } from '../tensor.js';

export interface NoiseAttrs extends Record<string, number> {
  /** The noise is uniform in [-magnitude, magnitude). */
  readonly magnitude: number;
  readonly seed: number;
  /** Which noise of the seed: each call draws the next. */
  readonly draw: number;
}

/**
 * out[i] = x[i] + magnitude (2 u - 1), u from word i mod 4 of philox(counter [i div 4, draw, 0, 2],
 * key [seed, 0]).
 */
export const addNoiseOp: OpDef<NoiseAttrs> = defineOp({
  name: 'addNoise',
  infer: ([x]) => [{ shape: x!.shape, dtype: 'float32' }],
  reference: ({ inputs: [x], outputs: [out], attrs }) => {
    for (let i = 0; i < x!.data.length; i += 4) {
      const words = philox([i >>> 2, attrs.draw >>> 0, 0, 2], [attrs.seed >>> 0, 0]);
      for (let j = i; j < Math.min(i + 4, x!.data.length); j++)
        out!.data[j] = x!.data[j]! + attrs.magnitude * (2 * toUnit(words[j - i]!) - 1);
    }
  },
  vjp: ({ grads }) => [grads[0]!],
  saves: { inputs: [], outputs: [] },
});

/**
 * x plus noise uniform in [-magnitude, magnitude), which follows the engine's seed as dropout does.
 */
export function addNoise(x: Tensor, magnitude: number): Tensor {
  const { engine } = x;
  const attrs = { magnitude, seed: engine.seed, draw: engine.nextDropoutDraw() };
  return engine.run(addNoiseOp, [x], attrs)[0]!;
}
