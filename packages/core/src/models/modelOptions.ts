import { z } from 'zod';
import type { DequantizedDType, QuantizedLayer } from '../nn/quantizedLayer.js';
import type { Tensor } from '../tensor/tensor.js';
import type { OptionsInput } from '../util/options.js';

const checkpointingShape = {
  /**
   * Keep the input of every n-th layer: fewer inputs are kept, but n layers are computed again at
   * one time. Where inputs dominate, the least memory is near the root of the number of layers;
   * else 1 takes the least. Default 1.
   */
  everyNLayers: z.number().optional().meta({ aka: 'every n layers everyn' }),
};
export const checkpointingOptions = z.strictObject(checkpointingShape);

/** Options of `gradientCheckpointingEnable`. */
export type CheckpointingOptions = OptionsInput<typeof checkpointingShape>;

const dequantizeShape = {
  /** Storage of the new weights. Default: that of the model's other weights. */
  dtype: z.custom<DequantizedDType>().optional().meta({ aka: 'torchdtype type' }),
  /**
   * Weights [out, in] in that storage, in the place of what a layer's codes stand for; the model
   * takes them over. Default none.
   */
  weights: z.custom<ReadonlyMap<QuantizedLayer, Tensor>>().optional(),
};
export const dequantizeOptions = z.strictObject(dequantizeShape);

/** Options of `dequantize`. */
export type DequantizeOptions = OptionsInput<typeof dequantizeShape>;
