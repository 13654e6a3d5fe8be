import { z } from 'zod';
import type { SafetensorsDType } from '../../io/safetensorsHeader.js';
import type { TensorToWrite } from '../../io/safetensorsWriter.js';
import type { WeightFolder } from '../../io/weights.js';
import type {
  BitsAndBytesFormat,
  BitsAndBytesLinear,
  BitsAndBytesWeight,
} from '../../nn/bitsAndBytesLinear.js';
import { AttuneError } from '../../util/errors.js';
import { parseJson, plainJson, strictJson } from '../../util/losslessJson.js';
import { decodeUtf8 } from '../../util/utf8.js';

/**
 * The weight of a layer as bitsandbytes stored it; null where the checkpoint has it unquantised.
 *
 * @throws WEIGHTS_SHAPE, WEIGHTS_QUANTIZED_AS when it was quantised otherwise than config.json says
 */
export async function readBitsAndBytes(
  weights: WeightFolder,
  path: string,
  layer: BitsAndBytesLinear,
): Promise<BitsAndBytesWeight | null> {
  const name = `${path}.weight`;
  const { format } = layer;
  // Floats that were saved without the first part of their names.
  if (!weights.has(name)) return null;
  const info = weights.info(name);
  if (info.dtype !== 'U8' && info.dtype !== 'I8') return null;
  const size = layer.outFeatures * layer.inFeatures;
  const bytes = (tensor: string, dtype: SafetensorsDType, count: number) =>
    weights.readPart(tensor, dtype, count);
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

const describe = ({ quantType, blockSize, nested }: Omit<BitsAndBytesFormat, 'compute'>): string =>
  quantType === 'int8'
    ? 'int8 by rows'
    : `${quantType} in blocks of ${blockSize}${nested ? ' with double quantisation' : ''}`;

/** The layer's weight under the names and in the form of bitsandbytes. */
export function bitsAndBytesToWrite(path: string, layer: BitsAndBytesLinear): TensorToWrite[] {
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
