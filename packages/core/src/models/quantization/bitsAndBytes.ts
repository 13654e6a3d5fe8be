import { z } from 'zod';
import { BitsAndBytesLinear, quantizationMaps } from '../../nn/bitsAndBytesLinear.js';
import { AttuneError } from '../../util/errors.js';
import type { OptionsInput } from '../../util/options.js';
import { bitsAndBytesToWrite, readBitsAndBytes } from './bitsAndBytesFiles.js';
import { defineQuantizationFormat } from './quantizationFormat.js';

const computeDtype = z.preprocess(
  (value) => (typeof value === 'string' ? value.replace(/^torch\./, '') : value),
  z.enum(['float32', 'float16', 'bfloat16']),
) as z.ZodType as z.ZodType<ComputeDtype, ComputeDtype>;
type ComputeDtype = 'float32' | 'float16' | 'bfloat16';

const quantizationShape = {
  /** Hold the weights of linear layers in 4 bits. Default false. */
  loadIn4bit: z.boolean().default(false).meta({ aka: 'bits int4' }),
  /** Hold them in 8 bits, a scale for each row. Default false. */
  loadIn8bit: z.boolean().default(false).meta({ aka: 'int8' }),
  /**
   * What the 4-bit codes stand for; "nf4" suits weights better. Default "fp4", as in bitsandbytes.
   */
  bnb4bitQuantType: z.enum(['nf4', 'fp4']).default('fp4').meta({ aka: 'nf4 quanttype type' }),
  /** Quantise the scales as well: 4.13 instead of 4.5 bits a weight. Default false. */
  bnb4bitUseDoubleQuant: z.boolean().default(false).meta({ aka: 'doublequant usedoublequant' }),
  /** What the operands of products are rounded to. Default "float32". */
  bnb4bitComputeDtype: computeDtype.default('float32').meta({ aka: 'computedtype dtype' }),
  /**
   * Layers that stay as they are: ends of their paths, or regular expressions of Python for the
   * beginning, whole parts, as in transformers. Default: the output head.
   */
  llmInt8SkipModules: z
    .array(z.string())
    .readonly()
    .nullable()
    .default(null)
    .meta({ aka: 'skipmodules' }),
};
const quantizationOptions = z.strictObject(quantizationShape);

/** Options of transformers' BitsAndBytesConfig, camelCase or snake_case, with its defaults. */
export type QuantizationConfig = OptionsInput<typeof quantizationShape>;

/** With what else a config.json has. */
const schema = quantizationOptions.extend({
  bnb4bitQuantStorage: z.literal('uint8').nullish(),
  /** Bitsandbytes alone needs it: activations stay float32 here, so nothing is split off. */
  llmInt8Threshold: z.number().nullish(),
  llmInt8EnableFp32CpuOffload: z.literal(false).nullish(),
  llmInt8HasFp16Weight: z.literal(false).nullish(),
});

/** Numbers that share a scale in 4-bit formats: bitsandbytes' default, which checkpoints have. */
const BLOCK = 64;

/** The formats of bitsandbytes: NF4 and FP4 in blocks of 64, int8 by rows. */
export const bitsAndBytes = defineQuantizationFormat({
  method: 'bitsandbytes',
  options: schema,
  skipOption: 'llmInt8SkipModules',
  check: ({ loadIn4bit, loadIn8bit }, where) => {
    if (loadIn4bit !== loadIn8bit) return;
    const found = loadIn4bit
      ? 'loadIn4bit and loadIn8bit are both true'
      : 'no number of bits is chosen';
    throw new AttuneError('QUANTIZATION_INVALID', `${where}: ${found}.`, {
      remedy: 'Set one of loadIn4bit and loadIn8bit to true.',
    });
  },
  layers: (engine, options) => {
    const format = {
      quantType: options.loadIn8bit ? ('int8' as const) : options.bnb4bitQuantType,
      blockSize: BLOCK,
      nested: options.loadIn4bit && options.bnb4bitUseDoubleQuant,
      compute: options.bnb4bitComputeDtype,
    };
    const maps = quantizationMaps(engine, format.quantType);
    return (spec) => new BitsAndBytesLinear(engine, { ...spec, format, maps });
  },
  tensors:
    /^(weight\.(absmax|quant_map|nested_absmax|nested_quant_map|quant_state\.bitsandbytes__(nf4|fp4))|SCB|weight_format)$/,
  read: readBitsAndBytes,
  write: bitsAndBytesToWrite,
});
