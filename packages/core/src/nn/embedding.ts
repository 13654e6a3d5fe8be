import type { DType } from '../backend/dtype.js';
import type { Engine } from '../tensor/engine.js';
import { embedding } from '../tensor/ops/embedding.js';
import { addNoise } from '../tensor/ops/noise.js';
import type { Tensor } from '../tensor/tensor.js';
import { Module, type Parameter } from './module.js';

/** Options of {@link Embedding}. */
export interface EmbeddingOptions {
  /** Storage of the weight. Default float32. */
  readonly dtype?: DType;
  /** Multiplies what is looked up; the weight itself stays as it is. Default 1. */
  readonly scale?: number;
  /**
   * The row whose vector looking it up does not train: torch's `padding_idx`. A head that is tied
   * to the table trains it all the same. Default null: none.
   */
  readonly paddingIdx?: number | null | undefined;
}

/** A table of vectors: weight [V, D]. */
export class Embedding extends Module {
  readonly weight: Parameter;
  readonly scale: number;
  readonly paddingIdx: number | null;
  /**
   * Adds noise uniform in [-noise, noise) to what it looks up: NEFTune, for one forward pass of
   * training.
   */
  noise = 0;

  constructor(
    engine: Engine,
    readonly vocabSize: number,
    readonly features: number,
    { dtype = 'float32', scale = 1, paddingIdx = null }: EmbeddingOptions = {},
  ) {
    super();
    this.scale = scale;
    this.paddingIdx = paddingIdx;
    this.weight = this.addParameter('weight', engine.empty([vocabSize, features], dtype));
  }

  /** int32 [...] -> [..., D] */
  forward(ids: Tensor): Tensor {
    const rows = embedding(this.weight.tensor, ids, this);
    const scaled = this.scale === 1 ? rows : rows.mul(this.scale);
    return this.noise > 0 ? addNoise(scaled, this.noise) : scaled;
  }
}
