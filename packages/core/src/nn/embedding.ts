import type { DType } from '../tensor/dtype.js';
import type { Engine } from '../tensor/engine.js';
import { embedding } from '../tensor/ops/embedding.js';
import type { Tensor } from '../tensor/tensor.js';
import { Module, type Parameter } from './module.js';

/** A table of vectors: weight [V, D]. */
export class Embedding extends Module {
  readonly weight: Parameter;

  constructor(
    engine: Engine,
    readonly vocabSize: number,
    readonly features: number,
    dtype: DType = 'float32',
  ) {
    super();
    this.weight = this.addParameter('weight', engine.empty([vocabSize, features], dtype));
  }

  /** int32 [...] -> [..., D] */
  forward(ids: Tensor): Tensor {
    return embedding(this.weight.tensor, ids);
  }
}
