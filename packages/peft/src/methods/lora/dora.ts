import { ops, type Tensor } from '@attune/core';
import type { AdapterContext, LayerInfo } from '../../contract/layerInfo.js';
import type { ParamSpec } from '../../contract/paramSpec.js';

/**
 * DoRA: y = m (W + s B A) x / ||W + s B A|| + b, with one magnitude m and one norm for each output
 * (row of the weight). The norm follows A and B, but no gradient flows through it (section 4.3 of
 * the paper).
 *
 * m starts at the norms, so that step 0 is the base model; in files it is `lora_magnitude_vector`
 * [out].
 *
 * @see arXiv:2402.09353 (Liu et al.), eq. 5 and 11
 */

export interface DoraTensors {
  /** [r, in] */
  readonly A: Tensor;
  /** [out, r] */
  readonly B: Tensor;
  /** [out] */
  readonly magnitude: Tensor;
}

/** [out, in] -> [out], of W + s B A, without history. */
const rowNorms = (weight: Tensor, A: Tensor, B: Tensor, scale: number): Tensor =>
  weight.engine.noGrad(() =>
    weight.engine.scope('dora norm', () =>
      B.matmul(A, { scale, addend: weight }).square().sum(1).sqrt(),
    ),
  );

export const doraMagnitude = ({ outFeatures }: LayerInfo, scale: number): ParamSpec => ({
  shape: [outFeatures],
  init: { fromBase: (weight, { A, B }) => rowNorms(weight, A!, B!, scale) },
  key: 'lora_magnitude_vector',
});

/** m / ||W + s B A|| [out]: a gradient reaches m alone. */
export function doraFactor(
  { A, B, magnitude }: DoraTensors,
  scale: number,
  context: AdapterContext,
): Tensor {
  const { engine } = magnitude;
  const weight = () => engine.noGrad(() => context.baseWeight());
  return magnitude.div(engine.scope('dora norm', () => rowNorms(weight(), A, B, scale)));
}

/**
 * As PEFT: with active dropout the base's share of the change is that of the dropped x too, so that
 * y = base(x) + (m/||.|| - 1) W x' + (m/||.||) s B A x'; without dropout x' = x.
 */
export function doraForward(
  x: Tensor,
  base: (x: Tensor) => Tensor,
  { A, B, magnitude }: DoraTensors,
  { scale, loraDropout }: { readonly scale: number; readonly loraDropout: number },
  context: AdapterContext,
): Tensor {
  const factor = doraFactor({ A, B, magnitude }, scale, context);
  const changed = (input: Tensor, plain: Tensor) =>
    ops.linear(input, A).matmul(B, { transposeB: true, scale, addend: plain }).mul(factor);
  const y = base(x);
  if (context.training && loraDropout > 0) {
    const dropped = context.dropout(x, loraDropout);
    const weight = x.engine.noGrad(() => context.baseWeight());
    const plain = ops.linear(dropped, weight);
    return y.add(changed(dropped, plain)).sub(plain);
  }
  const bias = context.baseBias();
  return bias ? changed(x, y.sub(bias)).add(bias) : changed(x, y);
}

/**
 * (m / ||W + s B A||) (W' + s B A): the norm is that of the base, W' may hold adapters that were
 * merged before.
 */
export function doraMergedWeight(
  weight: Tensor,
  { A, B, magnitude }: DoraTensors,
  scale: number,
  context: AdapterContext,
): Tensor {
  const factor = doraFactor({ A, B, magnitude }, scale, context);
  return B.matmul(A, { scale, addend: weight }).mul(factor.unsqueeze(1));
}
