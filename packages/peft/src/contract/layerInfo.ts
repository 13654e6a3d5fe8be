import type { Tensor } from '@attune/core';

/** The layer that is adapted: all that `params` may depend on. */
export interface LayerInfo {
  /** e.g. `model.layers.0.self_attn.q_proj` */
  readonly path: string;
  /**
   * Modules that are no linear layers (`targets: 'module'`) have the model's hidden size here and
   * as outFeatures.
   */
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly hasBias: boolean;
  /**
   * An embedding, which is given ids, has it: inFeatures is the size of its table, the weight
   * [out, in] its transpose.
   */
  readonly embedding?: {
    /** What it multiplies its rows by, e.g. sqrt(hidden) in Gemma. */
    readonly scale: number;
    /**
     * The row that looking up does not train, of the adapter neither: that of the padding token;
     * null: none.
     */
    readonly paddingIdx: number | null;
    /** The output head multiplies with its weight. */
    readonly tied: boolean;
  };
}

/** What the functions of a method know of the layer that they adapt. */
export interface AdapterContext {
  readonly layer: LayerInfo;
  /** True while training. */
  readonly training: boolean;
  /**
   * Zeroes elements with probability p and scales the rest by 1/(1-p); while not training, x
   * itself.
   */
  dropout(x: Tensor, p: number): Tensor;
  /**
   * The layer's own weight [out, in], float32, without any adapter; dequantised anew each time, if
   * it is held so.
   */
  baseWeight(): Tensor;
  /** The bias that the layer adds now, a trained one included; null: none. */
  baseBias(): Tensor | null;
}
