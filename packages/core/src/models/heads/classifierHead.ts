import type { DType } from '../../backend/dtype.js';
import type { CausalDecoder, Checkpointing, DecoderInput } from '../../nn/decoder.js';
import { Linear, type LinearLike } from '../../nn/linear.js';
import { Module } from '../../nn/module.js';
import type { Engine } from '../../tensor/engine.js';
import type { Tensor } from '../../tensor/tensor.js';

/**
 * A decoder with `score` in the place of its output layer: [..., hidden] -> [..., numLabels],
 * without a bias. The modules of the decoder stay under their names.
 */
export class DecoderWithScore extends Module implements CausalDecoder {
  readonly #decoder: CausalDecoder;

  constructor(
    engine: Engine,
    decoder: CausalDecoder,
    options: { readonly hiddenSize: number; readonly numLabels: number; readonly dtype: DType },
  ) {
    super();
    this.#decoder = decoder;
    for (const [name, child] of decoder.children)
      if (name === 'lm_head') child.dispose();
      else this.addChild(name, child);
    const { hiddenSize, numLabels, dtype } = options;
    this.addChild(
      'score',
      new Linear(engine, { inFeatures: hiddenSize, outFeatures: numLabels, dtype }),
    );
  }

  hiddenStates(input: DecoderInput): Tensor {
    return this.#decoder.hiddenStates(input);
  }

  head(hidden: Tensor): Tensor {
    return this.child<LinearLike>('score').forward(hidden);
  }

  /** There is no head over the vocabulary. */
  headWeight(): null {
    return null;
  }

  get gradientCheckpointing(): Checkpointing {
    return this.#decoder.gradientCheckpointing;
  }

  set gradientCheckpointing(value: Checkpointing) {
    this.#decoder.gradientCheckpointing = value;
  }

  override dispose(): void {
    super.dispose();
    this.#decoder.dispose();
  }
}
