import { z } from 'zod';
import { dot, roundAll } from '../arithmetic/products.js';
import { combineInputs } from '../arithmetic/vectorLayout.js';
import { defineMergeMethod, shared } from '../contract/mergeMethod.js';

const parameters = {
  /** 0 gives the base, 1 the other model. Not clamped: outside of [0, 1] it goes beyond them. */
  t: shared(z.number()),
};

/** Beyond this |cos| the tensors count as parallel: sin(theta) is too small to divide by. */
const PARALLEL = 0.9995;
/** A norm up to this counts as that of a zero tensor, whose cosine is 0. */
const SMALLEST_NORM = 1e-8;

/**
 * Spherical interpolation of two tensors, each taken as one vector:
 *
 *     theta = angle between base and model
 *     sin((1 - t) theta) / sin(theta) base + sin(t theta) / sin(theta) model
 *
 * Where |cos(theta)| > 0.9995, (1 - t) base + t model. A zero tensor has the cosine 0: at t = 0.5
 * the other comes out times 0.7071. In float32 whatever the inputs are, rounded once.
 *
 * @see Shoemake, "Animating rotation with quaternion curves", 1985
 */
export const slerp = defineMergeMethod({
  name: 'slerp',
  title: 'SLERP',
  reference: 'doi:10.1145/325165.325242',
  base: 'required',
  inputs: { min: 2, max: 2 },
  parameters,
  merge: (group, { t }, arithmetic) => {
    let [baseSquared, modelSquared, product] = [0, 0, 0];
    for (const { base, models } of group.chunks()) {
      baseSquared += dot(base!, base!);
      modelSquared += dot(models[0]!, models[0]!);
      product += dot(base!, models[0]!);
    }
    const cosine = product / (divisorOf(baseSquared) * divisorOf(modelSquared));
    const [a, b] = slerpCoefficients(t, Math.max(-1, Math.min(1, cosine)));
    const combine = combineInputs(group, group.baseIndex === 0 ? [a, b] : [b, a]);
    return (chunk, out) => {
      combine(chunk, out);
      roundAll(out, arithmetic);
    };
  },
});

const divisorOf = (squared: number): number => {
  const norm = Math.sqrt(squared);
  return norm > SMALLEST_NORM ? norm : 1;
};

function slerpCoefficients(t: number, cosine: number): readonly [number, number] {
  if (Math.abs(cosine) > PARALLEL) return [1 - t, t];
  const theta = Math.acos(cosine);
  const sine = Math.sin(theta);
  return [Math.sin((1 - t) * theta) / sine, Math.sin(t * theta) / sine];
}
