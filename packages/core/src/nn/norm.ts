import type { DType } from '../backend/dtype.js';
import type { Engine } from '../tensor/engine.js';
import { addRmsNorm, layerNorm, rmsNorm } from '../tensor/ops/norm.js';
import type { Tensor } from '../tensor/tensor.js';
import { Module, type Parameter } from './module.js';

/** y = x / sqrt(mean(x^2) + eps) * (offset + weight) over the last axis; weight [D]. */
export class RMSNorm extends Module {
  readonly weight: Parameter;

  /**
   * @param offset added to the weight: 1 in Gemma, whose checkpoints hold the difference from 1.
   *   Default 0
   */
  constructor(
    engine: Engine,
    features: number,
    readonly eps: number,
    dtype: DType = 'float32',
    readonly offset: 0 | 1 = 0,
  ) {
    super();
    this.weight = this.addParameter('weight', engine.empty([features], dtype));
  }

  forward(x: Tensor): Tensor {
    return rmsNorm(x, this.gain, this.eps);
  }

  /** What the normed x is multiplied with: [D]. */
  get gain(): Tensor {
    const { tensor } = this.weight;
    return this.offset === 0 ? tensor : tensor.cast('float32').add(this.offset);
  }
}

/** A norm, or what stands in its place: an adapter's own copy, say. */
export interface NormLike extends Module {
  forward(x: Tensor): Tensor;
}

/** `[x + r, norm(x + r)]`: one kernel when the norm is an RMSNorm itself. */
export function addThenNorm(x: Tensor, r: Tensor, norm: NormLike): [Tensor, Tensor] {
  if (norm instanceof RMSNorm) return addRmsNorm(x, r, norm.gain, norm.eps);
  const sum = x.add(r);
  return [sum, norm.forward(sum)];
}

/** y = (x - mean) / sqrt(var + eps) * weight + bias over the last axis; weight and bias [D]. */
export class LayerNorm extends Module {
  readonly weight: Parameter;
  readonly bias: Parameter;

  constructor(
    engine: Engine,
    features: number,
    readonly eps: number,
    dtype: DType = 'float32',
  ) {
    super();
    this.weight = this.addParameter('weight', engine.empty([features], dtype));
    this.bias = this.addParameter('bias', engine.empty([features], dtype));
  }

  forward(x: Tensor): Tensor {
    return layerNorm(x, this.weight.tensor, this.bias.tensor, this.eps);
  }
}
