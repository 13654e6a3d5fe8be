import { z } from 'zod';
import type { Attune } from '../../attune.js';
import type { DType } from '../../backend/dtype.js';
import type { HubOptions } from '../../io/hub.js';
import type { OptionsInput } from '../../util/options.js';
import type { QuantizationConfig } from '../quantization/bitsAndBytes.js';
import type { PluginQuantization } from '../quantization/quantizationFormat.js';

const attune = z.custom<Attune>().meta({ aka: 'engine backend' });
const quantization = z
  .custom<QuantizationConfig | PluginQuantization>()
  .optional()
  .meta({ aka: 'quantizationconfig quantize bnbconfig' });

/** What loading a model takes, beside what the Hub and the head take. */
const pretrainedShape = {
  /** The device, and the plugins that may know the family. */
  attune,
  /** Storage of the weights. Default "auto": as in the checkpoint (config.json's `dtype`). */
  dtype: z.custom<DType | 'auto'>().default('auto').meta({ aka: 'torchdtype precision' }),
  /**
   * Hold the weights of linear layers in 4 or 8 bits (frozen; train an adapter on them), quantised
   * while they are read: the model never is in memory in full precision. A format of a plugin is
   * named by its `quantMethod`. Default: as the checkpoint is stored.
   */
  quantization,
  /** Accept tensors in the checkpoint that the model has no place for. Default false: an error. */
  ignoreUnexpected: z.boolean().default(false).meta({ aka: 'ignoremismatchedsizes' }),
  /**
   * 'weights': the weights of the layers stay in host memory and are uploaded when their layer is
   * computed, so that a model larger than the device's memory works, slower. For training freeze
   * them (peftConfig) and set gradientCheckpointing. Default null: everything is on the device.
   */
  offload: z
    .literal('weights', 'expected "weights"')
    .nullable()
    .default(null)
    .meta({ aka: 'offloadfolder cpuoffload' }),
};
export const pretrainedOptions = z.strictObject(pretrainedShape);

/** Options of `AutoModelForCausalLM.fromPretrained`. */
export type FromPretrainedOptions = OptionsInput<typeof pretrainedShape> & HubOptions;

/** What a new model takes, beside what the head takes. */
const configShape = {
  /** The device, and the plugins that may know the family. */
  attune,
  /** Same seed, same weights. Default 0. */
  seed: z.number().default(0),
  /** Storage of the weights. Default "float32". */
  dtype: z.custom<DType>().default('float32').meta({ aka: 'torchdtype precision' }),
  /**
   * Hold the weights of linear layers in 4 or 8 bits, as for `fromPretrained`. Default: in full
   * precision.
   */
  quantization,
  /**
   * false: the weights stay as they are, undefined; for a model that is only looked at. Default
   * true.
   */
  initialize: z.boolean().default(true),
};
export const configOptions = z.strictObject(configShape);

/** Options of `AutoModelForCausalLM.fromConfig`. */
export type FromConfigOptions = OptionsInput<typeof configShape>;
