import { z } from 'zod';
import type { CheckpointingOptions } from '../../models/languageModel.js';
import { parseBytes } from '../../util/bytes.js';
import { count, inEitherSpelling } from './kinds.js';

const checkpointing = z
  .strictObject({
    everyNLayers: count.optional(),
    /** How torch does it; the results are the same. */
    useReentrant: z.boolean().optional(),
  })
  .transform(({ everyNLayers }) => ({ everyNLayers }));

/** What is held, and in how many bits products are computed. */
export const memory = {
  /**
   * Keep the input of each layer alone and compute the layer again in the backward pass: less
   * memory, more time. Default false.
   */
  gradientCheckpointing: z.boolean().default(false).meta({
    aka: 'checkpointing gradcheckpointing gradientcheckpoint usegradientcheckpointing activationcheckpointing',
  }),
  /** `everyNLayers`: keep the input of every n-th layer. Default {}: of each. */
  gradientCheckpointingKwargs: inEitherSpelling<CheckpointingOptions>(checkpointing)
    .default({ everyNLayers: 1 })
    .meta({ noneIsDefault: true }),
  /**
   * Bytes that training may hold on the device, or text such as "8GiB" or "8GB". Checked before the
   * first update against `planMemory()`: an error says what would make it fit. WebGPU does not say
   * how much memory a device has. Default null: no limit.
   */
  maxMemory: z
    .union([z.number().positive(), z.string().min(1)])
    .nullable()
    .default(null)
    .transform((bytes) => (bytes === null ? null : parseBytes(bytes, 'maxMemory')))
    .meta({ aka: 'memory memorylimit vram maxvram' }),
  /**
   * Mixed precision: products round their operands to bfloat16 and add up in float32; all else, the
   * trained weights too, is float32. Also in evaluation. Default false.
   */
  bf16: z.boolean().default(false).meta({ noneIsDefault: true }),
  /**
   * The same with float16, which matrix units are fastest at, and a dynamic loss scale
   * (LossScaler). Default false.
   */
  fp16: z.boolean().default(false),
};
