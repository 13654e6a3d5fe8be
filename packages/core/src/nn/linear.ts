import type { DType } from '../backend/dtype.js';
import type { Engine } from '../tensor/engine.js';
import { linear } from '../tensor/ops/matmul.js';
import type { Tensor } from '../tensor/tensor.js';
import { Module, type Parameter } from './module.js';

/**
 * What attention and feed-forward blocks ask of a projection. `Linear` is one; an adapter around it
 * is another; a quantised one is a third.
 */
export interface LinearLike extends Module {
  readonly inFeatures: number;
  readonly outFeatures: number;
  /** How its `weight` lies: [out, in], or [in, out] as in GPT-2's Conv1D. Default "outIn". */
  readonly weightLayout?: 'outIn' | 'inOut';
  /** [..., in] -> [..., out] */
  forward(x: Tensor): Tensor;
}

/** Options of {@link Linear}. */
export interface LinearOptions {
  readonly inFeatures: number;
  readonly outFeatures: number;
  /** Default false: Llama's projections have none. */
  readonly bias?: boolean;
  /** Storage of the weight; the product is float32. Default float32. */
  readonly dtype?: DType;
}

/**
 * y = x W^T + b; weight [out, in], bias [out], as in PyTorch and its checkpoints. Contents
 * undefined until loaded.
 */
export class Linear extends Module implements LinearLike {
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly weight: Parameter;
  readonly bias: Parameter | null;

  constructor(engine: Engine, options: LinearOptions) {
    super();
    const { inFeatures, outFeatures, bias = false, dtype = 'float32' } = options;
    this.inFeatures = inFeatures;
    this.outFeatures = outFeatures;
    this.weight = this.addParameter('weight', engine.empty([outFeatures, inFeatures], dtype));
    this.bias = bias ? this.addParameter('bias', engine.empty([outFeatures], dtype)) : null;
  }

  forward(x: Tensor): Tensor {
    return linear(x, this.weight.tensor, this.bias?.tensor);
  }
}

/** Whether a module is a plain linear layer: something that adapters wrap. */
export const isLinear = (module: Module): module is Linear => module instanceof Linear;
