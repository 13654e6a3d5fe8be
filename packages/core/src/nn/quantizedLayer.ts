import type { DType } from '../backend/dtype.js';
import type { Engine } from '../tensor/engine.js';
import { linear } from '../tensor/ops/matmul.js';
import type { Tensor } from '../tensor/tensor.js';
import { AttuneError } from '../util/errors.js';
import type { LinearLike } from './linear.js';
import { Module, type Parameter } from './module.js';

/** What quantised weights may become again. */
export type DequantizedDType = 'float32' | 'float16' | 'bfloat16';

/** The linear layer whose place a quantised one takes. */
export interface QuantizedLayerSpec {
  /** Where it stands in the model, for messages: `model.layers.0.self_attn.q_proj`. */
  readonly path: string;
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly bias: boolean;
  /** Storage of the bias. */
  readonly dtype: DType;
}

/**
 * y = x W^T + b, where W [out, in] is held as codes of some format: frozen, and never whole in
 * float32 for longer than it is used. What holds W are the module's buffers, so that memory plans
 * count them; the bias is a parameter. Gradients flow to x through the ops of `forward`.
 *
 * A format has a class of its own, with `Weight` as its codes and scales on the host. Models, plans
 * and adapters ask for nothing but what stands here.
 */
export abstract class QuantizedLayer<Weight = unknown> extends Module implements LinearLike {
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly bias: Parameter | null;

  constructor(
    readonly engine: Engine,
    { inFeatures, outFeatures, bias, dtype }: QuantizedLayerSpec,
  ) {
    super();
    this.inFeatures = inFeatures;
    this.outFeatures = outFeatures;
    this.bias = bias ? this.addParameter('bias', engine.empty([outFeatures], dtype)) : null;
  }

  /** How W is held, for messages: "4 bits (nf4)". */
  abstract readonly precision: string;

  /** Numbers of W: what a count of parameters counts. */
  get weightSize(): number {
    return this.outFeatures * this.inFeatures;
  }

  /**
   * The codes of W, as `load` takes them. Pure: the same rows give the same codes, and the layer
   * stays as it is. Absent: the format reads weights that are quantised already, and makes none.
   *
   * @param rows W, float32 [out * in], row by row; the caller uses the array again
   * @throws QUANTIZATION_INVALID for numbers that no code stands for: those that are not finite
   */
  encode?(rows: Float32Array): Weight;

  /**
   * As `encode`, of 16-bit floats as they lie in a file: the same codes, without a copy of W in
   * float32. Absent: they are widened, and `encode` gets them.
   *
   * @param rows the bits of W [out * in], row by row
   */
  encodeStored?(rows: Uint16Array, dtype: 'float16' | 'bfloat16'): Weight;

  /** Holds this W from now on. @throws SHAPE_MISMATCH when a part has another length */
  abstract load(weight: Weight): void;

  /** What `load` takes, as it lies on the device: a wait for it. */
  abstract read(): Promise<Weight>;

  /**
   * [..., in] -> [..., out]. Here W is dequantised for the product, and again for the backward
   * pass, so that what is kept for it is x alone. An op that reads the codes is faster.
   */
  forward(x: Tensor): Tensor {
    return this.engine.checkpoint([x], ([input]) =>
      linear(input!, this.dequantize(), this.bias?.tensor),
    );
  }

  /** W [out, in] as the products see it. */
  abstract dequantize(dtype?: DequantizedDType): Tensor;

  /**
   * Holds what the codes of `rows` stand for from now on.
   *
   * @param rows as for `encode`
   * @param name of the weight, for the message
   * @throws QUANTIZATION_READ_ONLY where the format makes no codes; QUANTIZATION_INVALID
   */
  quantize(rows: Float32Array, name: string): void {
    if (!this.encode)
      throw new AttuneError(
        'QUANTIZATION_READ_ONLY',
        `"${name}" would be held in ${this.precision}, which is read from checkpoints and not made of floats.`,
        { remedy: 'Load a checkpoint that was quantised so; or leave out quantization.' },
      );
    this.load(this.encode(rows));
  }
}
