import { z } from 'zod';
import type { Attune } from '../../attune.js';
import type { DType } from '../../backend/dtype.js';
import type { SafetensorsDType } from '../../io/safetensorsHeader.js';
import type { TensorToWrite } from '../../io/safetensorsWriter.js';
import type { WeightFolder } from '../../io/weights.js';
import { isLinear, Linear } from '../../nn/linear.js';
import type { Module } from '../../nn/module.js';
import {
  type DequantizedDType,
  type QuantizedFormat,
  QuantizedLinear,
  type QuantizedWeight,
  quantizationMaps,
} from '../../nn/quantizedLinear.js';
import type { Engine } from '../../tensor/engine.js';
import type { Tensor } from '../../tensor/tensor.js';
import { describeValue } from '../../util/describeValue.js';
import { AttuneError } from '../../util/errors.js';
import { isPlainObject, keysToCamel, keysToSnake } from '../../util/json.js';
import { parseJson, plainJson, strictJson } from '../../util/losslessJson.js';
import { hintsOf, type OptionsInput, problemError, problemsOf } from '../../util/options.js';
import { PythonPattern } from '../../util/pythonRegex/index.js';
import { explainUnknown } from '../../util/unknownOptions.js';
import { decodeUtf8 } from '../../util/utf8.js';

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
  quantMethod: z.literal('bitsandbytes').nullish(),
});

export interface Quantization {
  readonly format: QuantizedFormat;
  readonly skipModules: readonly string[] | null;
  /** From the config.json of a checkpoint, not from an option. */
  readonly isFile: boolean;
  /** quantization_config as config.json has it. */
  readonly raw: Readonly<Record<string, unknown>>;
}

/** Numbers that share a scale in 4-bit formats: bitsandbytes' default, which checkpoints have. */
const BLOCK = 64;

/**
 * @param where what the options are, for messages
 * @returns null: nothing is to be quantised
 * @throws UNKNOWN_OPTION; QUANTIZATION_INVALID with the option, what was found and what is allowed
 */
export function parseQuantization(
  input: unknown,
  where: string,
  isFile = false,
): Quantization | null {
  if (input === undefined || input === null) return null;
  const invalid = (found: string, remedy: string) =>
    new AttuneError('QUANTIZATION_INVALID', `${where}: ${found}.`, { remedy });
  if (!isPlainObject(input))
    throw invalid(
      `found ${describeValue(input)}, expected an object`,
      'Pass { loadIn4bit: true }.',
    );
  const given = isPlainObject(input) ? input : {};
  const method = given.quant_method ?? given.quantMethod ?? 'bitsandbytes';
  if (method !== 'bitsandbytes')
    throw new AttuneError(
      'CHECKPOINT_QUANTIZED',
      `${where}: the weights are quantised by "${String(method)}", which is not read.`,
      { remedy: 'Use the checkpoint that it was made from, or one quantised by bitsandbytes.' },
    );
  // "_load_in_4bit" and "_load_in_8bit" repeat what stands there without the underscore.
  const options = keysToCamel(
    Object.fromEntries(Object.entries(given).filter(([key]) => !key.startsWith('_'))),
  );
  const parsed = schema.safeParse(options);
  if (!parsed.success)
    throw problemError(
      'QUANTIZATION_INVALID',
      problemsOf(parsed.error, options, schema, {
        label: (path) => `${where}: ${path.map(String).join('.')}`,
        explain: (name) => `${where}: ${explainUnknown(name, hintsOf(schema))}`,
        remedy: () => 'Change the value, or leave the option out for its default.',
      }),
      parsed.error,
    );
  const config = parsed.data;
  if (config.loadIn4bit === config.loadIn8bit)
    throw invalid(
      config.loadIn4bit ? 'loadIn4bit and loadIn8bit are both true' : 'no number of bits is chosen',
      'Set one of loadIn4bit and loadIn8bit to true.',
    );
  return {
    format: {
      quantType: config.loadIn8bit ? 'int8' : config.bnb4bitQuantType,
      blockSize: BLOCK,
      nested: config.loadIn4bit && config.bnb4bitUseDoubleQuant,
      compute: config.bnb4bitComputeDtype,
    },
    skipModules: config.llmInt8SkipModules,
    isFile,
    raw: { quant_method: 'bitsandbytes', ...keysToSnake(config) },
  };
}

/**
 * Whether an entry of llm_int8_skip_modules leaves a layer out, as transformers'
 * `should_convert_module`: a regular expression of Python for the beginning of its path, whole
 * parts of it; or the end of the path, letter by letter.
 *
 * @throws QUANTIZATION_INVALID
 */
export function skipTest(name: string): (path: string) => boolean {
  const pattern = skipPattern(name);
  return (path) => path.endsWith(name) || pattern.match(path) !== null;
}

const lastNames = (paths: readonly string[]): string[] =>
  [...new Set(paths.map((path) => path.slice(path.lastIndexOf('.') + 1)))].filter((name) =>
    /\D/.test(name),
  );

function skipPattern(name: string): PythonPattern {
  try {
    return new PythonPattern(`(?:${name})(?:(?<=\\.)|(?=\\.|$))`);
  } catch (cause) {
    throw new AttuneError(
      'QUANTIZATION_INVALID',
      `llmInt8SkipModules: ${JSON.stringify(name)} is no name and no regular expression.`,
      {
        remedy: 'Give names of layers, or expressions of Python for the beginning of their paths.',
        cause,
      },
    );
  }
}

/**
 * Puts a {@link QuantizedLinear} in the place of every linear layer but the output head (or those
 * that `skipModules` names), before anything is loaded: the weights never exist in full precision.
 *
 * @throws QUANTIZATION_INVALID when no layer is left
 */
export function quantizeLayers(
  { engine, logger }: Pick<Attune, 'engine' | 'logger'>,
  root: Module,
  dtype: DType,
  { format, skipModules, isFile }: Quantization,
): void {
  const skip = skipModules ?? ['lm_head', 'score'];
  const skips = skip.map((name) => ({ name, fits: skipTest(name) }));
  const isSkipped = (path: string) => skips.some(({ fits }) => fits(path));
  const paths = [...root.namedModules()].map(([path]) => path);
  const stray = skips.filter(({ fits }) => !paths.some(fits)).map(({ name }) => name);
  // A checkpoint lists heads that only other models have.
  if (skipModules && !isFile && stray.length > 0)
    logger.warn(
      `llmInt8SkipModules ${JSON.stringify(stray)} match no module, so they leave out none. Names: ${lastNames(paths).join(', ')}.`,
    );
  const layers = [...root.namedModules()].flatMap(([path, module]) =>
    isLinear(module) && !isSkipped(path) ? [{ path, module }] : [],
  );
  if (layers.length === 0)
    throw new AttuneError('QUANTIZATION_INVALID', 'there is no linear layer to quantise.', {
      remedy: `llmInt8SkipModules leaves out: ${skip.join(', ')}.`,
    });
  const maps = quantizationMaps(engine, format.quantType);
  for (const { path, module } of layers) {
    const { inFeatures, outFeatures, bias } = module;
    root.replaceSubmodule(
      path,
      new QuantizedLinear(engine, {
        inFeatures,
        outFeatures,
        bias: bias !== null,
        dtype,
        format,
        maps,
      }),
    );
    module.dispose();
  }
  maps.codes.dispose();
  maps.nested.dispose();
}

/**
 * Puts a {@link Linear} in the place of every {@link QuantizedLinear}.
 *
 * @param dtype in which the new weights are stored
 * @param weights what they are [out, in], where not what the codes stand for; taken over
 */
export function dequantizeLayers(
  engine: Engine,
  root: Module,
  dtype: DequantizedDType,
  weights: ReadonlyMap<QuantizedLinear, Tensor>,
): void {
  for (const [path, layer] of quantizedLayers(root)) {
    const { inFeatures, outFeatures, bias } = layer;
    const linear = engine.noGrad(() =>
      engine.scope('dequantize', () => {
        const options = { inFeatures, outFeatures, bias: bias !== null };
        const made = new Linear(engine, { ...options, dtype });
        made.weight.replace(weights.get(layer) ?? layer.dequantize(dtype));
        if (bias) made.bias!.replace(bias.tensor.mul(1).cast(bias.dtype));
        return made;
      }),
    );
    for (const parameter of linear.ownParameters.values()) parameter.trainable = true;
    root.replaceSubmodule(path, linear);
    layer.dispose();
  }
}

export const quantizedLayers = (root: Module): Map<string, QuantizedLinear> =>
  new Map(
    [...root.namedModules()].flatMap(([path, module]) =>
      module instanceof QuantizedLinear ? [[path, module] as const] : [],
    ),
  );

/** Tensors of a checkpoint that bitsandbytes wrote for the weight of a layer. */
export const quantizedNames = (path: string): RegExp =>
  new RegExp(
    `^${path.replaceAll('.', '\\.')}\\.(weight\\.(absmax|quant_map|nested_absmax|nested_quant_map|quant_state\\.bitsandbytes__(nf4|fp4))|SCB|weight_format)$`,
  );

/**
 * The weight of a layer as bitsandbytes stored it; null where the checkpoint has it unquantised.
 *
 * @throws WEIGHTS_SHAPE, WEIGHTS_QUANTIZED_AS when it was quantised otherwise than config.json says
 */
export async function readQuantized(
  weights: WeightFolder,
  path: string,
  layer: QuantizedLinear,
): Promise<QuantizedWeight | null> {
  const name = `${path}.weight`;
  const { format } = layer;
  const info = weights.info(name);
  if (info.dtype !== 'U8' && info.dtype !== 'I8') return null;
  const size = layer.outFeatures * layer.inFeatures;
  const bytes = (tensor: string, dtype: SafetensorsDType, count: number) =>
    readPart(weights, tensor, dtype, count);
  const floats = async (tensor: string, count: number) =>
    new Float32Array((await bytes(tensor, 'F32', 4 * count)).buffer);
  const mismatch = (found: string) =>
    new AttuneError(
      'WEIGHTS_QUANTIZED_AS',
      `${weights.file(name).path}: "${name}" is ${found}; quantization_config says ${describe(format)}.`,
      { remedy: 'Use the config.json that belongs to these weights.' },
    );
  if (info.dtype === 'I8') {
    if (format.quantType !== 'int8') throw mismatch('int8');
    // Codes of one number stand for whole numbers over 127, as ours do.
    return {
      codes: await bytes(name, 'I8', size),
      absmax: await floats(`${path}.SCB`, layer.outFeatures),
    };
  }
  const state = ['nf4', 'fp4']
    .map((type) => `${name}.quant_state.bitsandbytes__${type}`)
    .find((tensor) => weights.has(tensor));
  if (state === undefined) throw mismatch('bytes without a quant_state');
  const stored = await readState(weights, state);
  if (!stored?.success) throw mismatch(`described by a quant_state that cannot be read (${state})`);
  const { quant_type: type, blocksize, shape, nested_offset: offset } = stored.data;
  const [out, inner] = shape;
  if (out !== layer.outFeatures || inner !== layer.inFeatures)
    throw new AttuneError(
      'WEIGHTS_SHAPE',
      `tensor "${name}" is [${shape}] in ${weights.file(name).path}, but config.json asks for [${layer.outFeatures}, ${layer.inFeatures}].`,
      { remedy: 'Use the config.json that belongs to these weights.' },
    );
  const nested = offset !== undefined;
  if (type !== format.quantType || blocksize !== format.blockSize || nested !== format.nested)
    throw mismatch(describe({ quantType: type, blockSize: blocksize, nested }));
  const codes = await bytes(name, 'U8', Math.ceil(size / 2));
  const blocks = Math.ceil(size / format.blockSize);
  if (!nested) return { codes, absmax: await floats(`${name}.absmax`, blocks) };
  return {
    codes,
    absmax: await bytes(`${name}.absmax`, 'U8', blocks),
    nestedAbsmax: await floats(`${name}.nested_absmax`, Math.ceil(blocks / 256)),
    offset,
  };
}

/** A part of a quantised weight, checked before it is read. @throws WEIGHTS_SHAPE */
async function readPart(
  weights: WeightFolder,
  name: string,
  dtype: SafetensorsDType,
  numBytes: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const found = weights.info(name);
  if (found.dtype === dtype && found.end - found.begin === numBytes) return weights.readBytes(name);
  throw new AttuneError(
    'WEIGHTS_SHAPE',
    `tensor "${name}" is ${found.dtype} of ${found.end - found.begin} bytes in ${weights.file(name).path}, but config.json asks for ${dtype} of ${numBytes} bytes.`,
    { remedy: 'Use the config.json that belongs to these weights.' },
  );
}

/** Longest quant_state: it is a few hundred bytes of JSON. */
const maxStateBytes = 2 ** 16;

/** null: no JSON at all. */
async function readState(weights: WeightFolder, name: string) {
  const { begin, end } = weights.info(name);
  if (end - begin > maxStateBytes) return null;
  try {
    const json = parseJson(decodeUtf8(await weights.readBytes(name)), strictJson);
    return stateSchema.safeParse(plainJson(json));
  } catch {
    return null;
  }
}

const stateSchema = z.object({
  quant_type: z.enum(['nf4', 'fp4']),
  blocksize: z.int(),
  shape: z.array(z.int()),
  nested_blocksize: z.literal(256).optional(),
  nested_offset: z.number().optional(),
});

const describe = ({ quantType, blockSize, nested }: Omit<QuantizedFormat, 'compute'>): string =>
  quantType === 'int8'
    ? 'int8 by rows'
    : `${quantType} in blocks of ${blockSize}${nested ? ' with double quantisation' : ''}`;

/** The layer's weight under the names and in the form of bitsandbytes. */
export function quantizedToWrite(path: string, layer: QuantizedLinear): TensorToWrite[] {
  const { format, outFeatures, inFeatures } = layer;
  const part = (name: string) => layer.ownBuffers.get(name)!.tensor;
  const read = async (name: string, length: number) => {
    const { engine, storage, byteOffset, byteLength } = part(name);
    const bytes = await engine.backend.read(storage.buffer, byteOffset, byteLength);
    return new Uint8Array(bytes).subarray(0, length);
  };
  const write = (
    name: string,
    buffer: string,
    dtype: SafetensorsDType,
    shape: readonly number[],
    bytes: number,
  ): TensorToWrite => ({
    name: `${path}.${name}`,
    dtype,
    shape,
    data: () => read(buffer, bytes),
  });
  const size = outFeatures * inFeatures;
  if (format.quantType === 'int8')
    return [
      write('weight', 'weight', 'I8', [outFeatures, inFeatures], size),
      write('SCB', 'weight.absmax', 'F32', [outFeatures], 4 * outFeatures),
      { name: `${path}.weight_format`, dtype: 'U8', shape: [], data: new Uint8Array(1) },
    ];
  const blocks = Math.ceil(size / format.blockSize);
  const nestedBlocks = Math.ceil(blocks / 256);
  const state = {
    quant_type: format.quantType,
    blocksize: format.blockSize,
    dtype: 'float32',
    shape: [outFeatures, inFeatures],
    ...(format.nested && {
      nested_blocksize: 256,
      nested_dtype: 'float32',
      nested_offset: layer.offset,
    }),
  };
  const json = new TextEncoder().encode(JSON.stringify(state));
  const packed = Math.ceil(size / 2);
  return [
    write('weight', 'weight', 'U8', [packed, 1], packed),
    format.nested
      ? write('weight.absmax', 'weight.absmax', 'U8', [blocks], blocks)
      : write('weight.absmax', 'weight.absmax', 'F32', [blocks], 4 * blocks),
    write('weight.quant_map', 'weight.quant_map', 'F32', [16], 64),
    ...(format.nested
      ? [
          write(
            'weight.nested_absmax',
            'weight.nested_absmax',
            'F32',
            [nestedBlocks],
            4 * nestedBlocks,
          ),
          write('weight.nested_quant_map', 'weight.nested_quant_map', 'F32', [256], 1024),
        ]
      : []),
    {
      name: `${path}.weight.quant_state.bitsandbytes__${format.quantType}`,
      dtype: 'U8',
      shape: [json.length],
      data: json,
    },
  ];
}
