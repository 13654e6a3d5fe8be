import { ops, type Tensor } from '@attune/core';
import type { ParamSpec } from '../../contract/paramSpec.js';

/**
 * Weight [out, in] and bias [out] of a torch.nn.Linear, started as torch does: uniform in
 * +-1/sqrt(in).
 */
export const linearParams = (
  name: string,
  inFeatures: number,
  outFeatures: number,
): Readonly<Record<string, ParamSpec>> => ({
  [`${name}.weight`]: { shape: [outFeatures, inFeatures], init: 'kaimingUniform' },
  [`${name}.bias`]: { shape: [outFeatures], init: { uniform: 1 / Math.sqrt(inFeatures) } },
});

/** W x + b with the parameters of that name: [..., in] -> [..., out]. */
export const linearOf = (x: Tensor, p: Readonly<Record<string, Tensor>>, name: string): Tensor =>
  ops.linear(x, p[`${name}.weight`]!, p[`${name}.bias`]);
