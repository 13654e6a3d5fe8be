import type { DType } from '../tensor/dtype.js';
import type { Engine } from '../tensor/engine.js';
import { addRmsNorm, layerNorm, rmsNorm } from '../tensor/ops/norm.js';
import type { Tensor } from '../tensor/tensor.js';
import { Module, type Parameter } from './module.js';

/** y = x / sqrt(mean(x^2) + eps) * weight over the last axis; weight [D]. */
export class RMSNorm extends Module {
  readonly weight: Parameter;

  constructor(
    engine: Engine,
    features: number,
    readonly eps: number,
    dtype: DType = 'float32',
  ) {
    super();
    this.weight = this.addParameter('weight', engine.empty([features], dtype));
  }

  forward(x: Tensor): Tensor {
    return rmsNorm(x, this.weight.tensor, this.eps);
  }

  /** x + r and its norm: [sum, normed]. */
  forwardSum(x: Tensor, r: Tensor): [Tensor, Tensor] {
    return addRmsNorm(x, r, this.weight.tensor, this.eps);
  }
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
