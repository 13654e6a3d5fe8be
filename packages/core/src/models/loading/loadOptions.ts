import type { Attune } from '../../attune.js';
import type { DType } from '../../backend/dtype.js';
import type { HubOptions } from '../../io/hub.js';
import type { QuantizationConfig } from './quantization.js';

export interface FromPretrainedOptions extends HubOptions {
  /** The device, and the plugins that may know the family. */
  readonly attune: Attune;
  /** Storage of the weights. Default "auto": as in the checkpoint (config.json's `dtype`). */
  readonly dtype?: DType | 'auto';
  /**
   * Hold the weights of linear layers in 4 or 8 bits (frozen; train an adapter on them), quantised while they
   * are read: the model never is in memory in full precision. Default: as the checkpoint is stored.
   */
  readonly quantization?: QuantizationConfig;
  /** Accept tensors in the checkpoint that the model has no place for. Default false: an error. */
  readonly ignoreUnexpected?: boolean;
  /**
   * 'weights': the weights of the layers stay in host memory and are uploaded when their layer is
   * computed, so that a model larger than the device's memory works, slower. For training freeze them
   * (peftConfig) and set gradientCheckpointing. Default null: everything is on the device.
   */
  readonly offload?: 'weights' | null;
}

export interface FromConfigOptions {
  /** The device, and the plugins that may know the family. */
  readonly attune: Attune;
  /** Same seed, same weights. Default 0. */
  readonly seed?: number;
  /** Storage of the weights. Default "float32". */
  readonly dtype?: DType;
  /** Hold the weights of linear layers in 4 or 8 bits, as for `fromPretrained`. Default: in full precision. */
  readonly quantization?: QuantizationConfig;
  /** false: the weights stay as they are, undefined; for a model that is only looked at. Default true. */
  readonly initialize?: boolean;
}
