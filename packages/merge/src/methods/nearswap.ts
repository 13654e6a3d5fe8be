import { z } from 'zod';
import { type Combine, defineMergeMethod, shared } from '../contract/mergeMethod.js';

const parameters = {
  /** Up to which distance an element of the model is taken as it is. */
  t: shared(z.number()),
};

/** The smallest distance that t is divided by. */
const SMALLEST_DISTANCE = 1e-6;

/**
 * Moves the base to the model where they are near:
 *
 *     w_i = clamp(t / max(|base_i - model_i|, 1e-6), 0, 1)
 *     w_i model_i + (1 - w_i) base_i
 *
 * An element within t of the base's becomes the model's; one further away moves by t.
 *
 * @see huggingface.co/alchemonaut/QuartetAnemoi-70B-t0.0001
 */
export const nearswap = defineMergeMethod({
  name: 'nearswap',
  title: 'NearSwap',
  reference: 'https://huggingface.co/alchemonaut/QuartetAnemoi-70B-t0.0001',
  base: 'required',
  inputs: { min: 2, max: 2 },
  parameters,
  merge: (_group, { t }, { dtype, round }) => {
    if (dtype === 'float32') return inFloat32(t);
    const least = round(SMALLEST_DISTANCE);
    const held = Math.fround(t);
    return ({ base, models }, out) => {
      const model = models[0]!;
      for (let i = 0; i < out.length; i++) {
        const [a, b] = [base![i]!, model[i]!];
        const distance = Math.max(round(Math.abs(a - b)), least);
        // torch divides a number by a tensor as number * (1 / tensor).
        const weight = Math.min(1, Math.max(0, round(round(1 / distance) * held)));
        out[i] = round(round(weight * b) + round(round(1 - weight) * a));
      }
    };
  },
});

/** The same without a division: the element moves by at most t, and to the model's at most. */
function inFloat32(t: number): Combine {
  const step = Math.max(0, t);
  const share = Math.min(1, step / SMALLEST_DISTANCE); // below 1 only for t below 1e-6
  return ({ base, models }, out) => {
    const model = models[0]!;
    for (let i = 0; i < out.length; i++) {
      const a = base![i]!;
      const b = share === 1 ? model[i]! : a + share * (model[i]! - a);
      out[i] = Math.min(a + step, Math.max(a - step, b));
    }
  };
}
