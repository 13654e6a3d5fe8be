import type { DType } from '../backend/dtype.js';
import type { Engine } from '../tensor/engine.js';
import { matmul } from '../tensor/ops/matmul.js';
import type { Tensor } from '../tensor/tensor.js';
import type { LinearLike } from './linear.js';
import { Module, type Parameter } from './module.js';

/**
 * y = x W + b; weight [in, out], bias [out]: a linear layer stored the other way round, as in the
 * checkpoints of GPT-2, where it is called Conv1D. PEFT's `fan_in_fan_out` means these.
 */
export class Conv1D extends Module implements LinearLike {
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly weightLayout = 'inOut';
  readonly weight: Parameter;
  readonly bias: Parameter;

  constructor(
    engine: Engine,
    options: { readonly inFeatures: number; readonly outFeatures: number; readonly dtype?: DType },
  ) {
    super();
    const { inFeatures, outFeatures, dtype = 'float32' } = options;
    this.inFeatures = inFeatures;
    this.outFeatures = outFeatures;
    this.weight = this.addParameter('weight', engine.empty([inFeatures, outFeatures], dtype));
    this.bias = this.addParameter('bias', engine.empty([outFeatures], dtype));
  }

  forward(x: Tensor): Tensor {
    return matmul(x, this.weight.tensor, { addend: this.bias.tensor });
  }
}
