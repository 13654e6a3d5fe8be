import { z } from 'zod';
import type { FileHandle } from '#platform';
import { type DType, encode, type HostArray } from '../backend/dtype.js';
import { formatShape, numel } from '../tensor/shape.js';
import { compareBytes, utf8Bytes } from '../util/byteArrays.js';
import { AttuneError } from '../util/errors.js';
import { type OptionsInput, parseOptions } from '../util/options.js';
import { writeFileAtomic } from './atomic.js';
import { findNonFinite } from './nonFinite.js';
import {
  isSafetensorsDType,
  type SafetensorsDType,
  safetensorsBytes,
} from './safetensorsHeader.js';

type Bytes = HostArray | Uint8Array;

/** What is known of a tensor before its data. */
export interface TensorDescription {
  readonly name: string;
  /** Ours ("bfloat16") or the format's ("BF16"). */
  readonly dtype: DType | SafetensorsDType;
  readonly shape: readonly number[];
}

/**
 * One tensor to write. `data` in storage form (16-bit floats as bits), or a function that fetches
 * it.
 */
export interface TensorToWrite extends TensorDescription {
  /** Called once, in the order of the file: with functions, memory holds one tensor at a time. */
  readonly data: Bytes | (() => Bytes | Promise<Bytes>);
}

const formatNames: Readonly<Record<DType, SafetensorsDType>> = {
  float32: 'F32',
  float16: 'F16',
  bfloat16: 'BF16',
  int32: 'I32',
  uint32: 'U32',
};

/**
 * The order of safetensors' own writer: wide dtypes first, so that every tensor is aligned; then by
 * name.
 */
const dtypeOrder: readonly SafetensorsDType[] = [
  'U64',
  'I64',
  'F64',
  'F32',
  'U32',
  'I32',
  'BF16',
  'F16',
  'U16',
  'I16',
  'F8_E4M3',
  'F8_E5M2',
  'I8',
  'U8',
  'BOOL',
];

/** The name of a storage in safetensors files. @throws DTYPE_UNKNOWN */
export function safetensorsDType(dtype: DType | SafetensorsDType): SafetensorsDType {
  return isSafetensorsDType(dtype) ? dtype : formatNames[dtype];
}

const writeShape = {
  /**
   * Writes NaN and infinity (of float32, float16, bfloat16) like other numbers. Default false:
   * weights that hold them are broken.
   */
  allowNonFinite: z.boolean().default(false).meta({ aka: 'nonfinite allownan' }),
};
const writeOptions = z.strictObject(writeShape);

/** Options of {@link writeSafetensors}. */
export type WriteSafetensorsOptions = OptionsInput<typeof writeShape>;

/**
 * Writes a `.safetensors` file as Python's `save_file` does: the same bytes for the same tensors,
 * whatever order they are given in. The file appears only when it is whole (temporary file, fsync,
 * rename).
 *
 * @param metadata strings for `__metadata__`; default `{ format: 'pt' }`, which transformers asks
 *   for
 * @throws SAFETENSORS_WRITE when data do not fill their shape, or a name comes twice;
 *   WEIGHTS_NON_FINITE
 */
export async function writeSafetensors(
  path: string,
  tensors: Iterable<TensorToWrite> | AsyncIterable<TensorToWrite>,
  metadata: Readonly<Record<string, string>> = { format: 'pt' },
  options: WriteSafetensorsOptions = {},
): Promise<void> {
  const { allowNonFinite } = parseOptions(writeOptions, options, { where: 'writeSafetensors' });
  const given: TensorToWrite[] = [];
  for await (const tensor of tensors) given.push(tensor);
  const entries = collect(path, given);
  await writeFileAtomic(path, async (file) => {
    await writeFully(file, header(entries, metadata));
    for (const entry of entries) {
      const data = typeof entry.data === 'function' ? await entry.data() : entry.data;
      if (data.byteLength !== entry.byteLength)
        throw new AttuneError(
          'SAFETENSORS_WRITE',
          `${path}: tensor "${entry.name}" ${entry.format} ${formatShape(entry.shape)} needs ${entry.byteLength} bytes, but its data have ${data.byteLength}.`,
          { remedy: 'Give data in the storage form of the dtype: 16-bit floats as Uint16Array.' },
        );
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      if (!allowNonFinite) refuseNonFinite(path, entry, bytes);
      await writeFully(file, bytes);
    }
  });
}

/** @throws WEIGHTS_NON_FINITE */
function refuseNonFinite(path: string, { name, format, shape }: Entry, bytes: Uint8Array): void {
  const at = findNonFinite(bytes, format);
  if (at < 0) return;
  throw new AttuneError(
    'WEIGHTS_NON_FINITE',
    `${path}: tensor "${name}" ${formatShape(shape)} is not finite (NaN or infinity) at element ${at}; nothing is written.`,
    {
      remedy:
        'Go back to a checkpoint from before it broke, with a lower learningRate. For tensors that may hold such numbers: writeSafetensors(..., { allowNonFinite: true }).',
      details: { path, name, element: at },
    },
  );
}

/** Numbers -> a tensor to write, rounded to `dtype`. */
export const tensorToWrite = (
  name: string,
  values: ArrayLike<number>,
  shape: readonly number[],
  dtype: DType = 'float32',
): TensorToWrite => ({ name, dtype, shape, data: encode(values, dtype) });

/** Where the data of tensors lie in a file. */
export interface SafetensorsLayout {
  /** What the file begins with: the length of the header, and the header. */
  readonly header: Uint8Array;
  /** First byte of a tensor in the file, by its name; in the order of the file. */
  readonly begins: ReadonlyMap<string, number>;
  /** Bytes of the file. */
  readonly numBytes: number;
}

/**
 * The file that `writeSafetensors` writes, before there are data: for those who write each tensor
 * into its place when it is ready.
 *
 * @param path of the file, for messages
 * @param metadata as in `writeSafetensors`
 * @throws SAFETENSORS_WRITE where a name comes twice
 */
export function layoutSafetensors(
  path: string,
  tensors: readonly TensorDescription[],
  metadata: Readonly<Record<string, string>> = { format: 'pt' },
): SafetensorsLayout {
  const entries = collect(path, tensors);
  const bytes = header(entries, metadata);
  const begins = new Map<string, number>();
  let numBytes = bytes.byteLength;
  for (const { name, byteLength } of entries) {
    begins.set(name, numBytes);
    numBytes += byteLength;
  }
  return { header: bytes, begins, numBytes };
}

type Entry<T extends TensorDescription = TensorToWrite> = T & {
  readonly format: SafetensorsDType;
  readonly byteLength: number;
};

function collect<T extends TensorDescription>(path: string, tensors: readonly T[]): Entry<T>[] {
  const entries = new Map<string, Entry<T>>();
  for (const tensor of tensors) {
    if (entries.has(tensor.name) || tensor.name === '__metadata__')
      throw new AttuneError(
        'SAFETENSORS_WRITE',
        `${path}: ${entries.has(tensor.name) ? `two tensors are named "${tensor.name}"` : 'a tensor is named "__metadata__"'}.`,
        { remedy: 'Give every tensor a name of its own.' },
      );
    const format = safetensorsDType(tensor.dtype);
    const byteLength = numel(tensor.shape) * safetensorsBytes[format];
    entries.set(tensor.name, { ...tensor, format, byteLength });
  }
  const rank = (e: Entry<T>) => dtypeOrder.indexOf(e.format);
  return [...entries.values()].sort((a, b) => rank(a) - rank(b) || compareNames(a.name, b.name));
}

const SPACE = 0x20;

/** By UTF-8 bytes, as Rust compares strings. */
const compareNames = (a: string, b: string): number => compareBytes(utf8Bytes(a), utf8Bytes(b));

function header(
  entries: readonly Entry<TensorDescription>[],
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  const json: [string, unknown][] = [];
  if (Object.keys(metadata).length > 0) json.push(['__metadata__', metadata]);
  let at = 0;
  for (const { name, format, shape, byteLength } of entries) {
    json.push([name, { dtype: format, shape, data_offsets: [at, at + byteLength] }]);
    at += byteLength;
  }
  // Built by hand: an object would move integer-like names to the front.
  const text = `{${json.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(',')}}`;
  const body = utf8Bytes(text);
  const padded = Math.ceil(body.length / 8) * 8;
  const out = new Uint8Array(8 + padded).fill(SPACE);
  new DataView(out.buffer).setBigUint64(0, BigInt(padded), true);
  out.set(body, 8);
  return out;
}

async function writeFully(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; )
    at += (await file.write(bytes, at, Math.min(2 ** 30, bytes.length - at))).bytesWritten;
}
