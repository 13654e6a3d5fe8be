import type { DType } from '../tensor/dtype.js';
import type { Engine } from '../tensor/engine.js';
import { embedding } from '../tensor/ops/embedding.js';
import { addNoise } from '../tensor/ops/noise.js';
import type { Tensor } from '../tensor/tensor.js';
import { Module, type Parameter } from './module.js';

/** A table of vectors: weight [V, D]. */
export class Embedding extends Module {
  readonly weight: Parameter;
  /** Adds noise uniform in [-noise, noise) to what it looks up: NEFTune, for one forward pass of training. */
  noise = 0;

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
    const rows = embedding(this.weight.tensor, ids);
    return this.noise > 0 ? addNoise(rows, this.noise) : rows;
  }
}
