import type { FileHandle } from '#platform';
import type { DType, HostArray } from '../backend/dtype.js';
import { numel } from '../tensor/shape.js';
import { AttuneError, nearest } from '../util/errors.js';
import { decodeUtf8 } from '../util/utf8.js';
import { openRegular } from './regularFile.js';
import {
  maxHeaderBytes,
  parseHeader,
  type SafetensorsDType,
  type SafetensorsHeader,
  safetensorsBytes,
  type TensorInfo,
} from './safetensorsHeader.js';

/** A tensor on the host in its storage form: 16-bit floats as their bits. */
export interface HostTensorData {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: HostArray;
}

/** Where the data of a tensor lie, for readers that go without headers. */
export interface TensorLocation {
  /** The .safetensors file. */
  readonly path: string;
  /** Byte in the file at which the data begin. */
  readonly begin: number;
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
}

/**
 * Gives memory of at least so many bytes. One that gives the same memory again ends what was read
 * before: new memory is slow, each page of it is cleared at first use.
 */
export type Room = (numBytes: number) => ArrayBuffer;

const newRoom: Room = (numBytes) => new ArrayBuffer(numBytes);

/** The same memory for one after the other, as large as the largest. */
export function sharedRoom(): Room {
  let memory = newRoom(0);
  return (numBytes) => {
    if (memory.byteLength < numBytes) memory = newRoom(numBytes);
    return memory;
  };
}

/** Longest single read: Node refuses more than 2 GiB at once. */
const chunkBytes = 2 ** 30;

/**
 * A `.safetensors` file: 8 bytes of header length (little endian), a JSON header, then the data.
 *
 * `open` reads and checks the header alone; `read` fetches the bytes of one tensor. Nothing the
 * header says is believed before it agrees with the size of the file.
 *
 * @see https://github.com/huggingface/safetensors#format
 */
export class SafetensorsFile implements AsyncDisposable {
  private constructor(
    readonly path: string,
    private readonly file: FileHandle,
    private readonly header: SafetensorsHeader,
    private readonly dataStart: number,
  ) {}

  /**
   * @throws SAFETENSORS_MISSING, SAFETENSORS_TRUNCATED, SAFETENSORS_HEADER, SAFETENSORS_DTYPE,
   * SAFETENSORS_SIZE, SAFETENSORS_OFFSETS
   */
  static async open(path: string): Promise<SafetensorsFile> {
    const file = await openRegular(path, {
      code: 'SAFETENSORS_MISSING',
      remedy: 'Check the path; model weights are named model.safetensors.',
    });
    try {
      const { size } = await file.stat();
      const headerBytes = await readHeaderLength(file, path, size);
      const text = new Uint8Array(headerBytes);
      await readFully(file, text, 8, path);
      const dataStart = 8 + headerBytes;
      const header = parseHeader(headerText(text, path), path, size - dataStart);
      return new SafetensorsFile(path, file, header, dataStart);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** In the order of the data. */
  get names(): readonly string[] {
    return [...this.header.tensors.keys()];
  }

  /** The header's `__metadata__`, e.g. `{ format: 'pt' }`. */
  get metadata(): Readonly<Record<string, string>> {
    return this.header.metadata;
  }

  has(name: string): boolean {
    return this.header.tensors.has(name);
  }

  /** @throws SAFETENSORS_TENSOR_UNKNOWN with the nearest name */
  info(name: string): TensorInfo {
    const info = this.header.tensors.get(name);
    if (info) return info;
    const near = nearest(name, this.names);
    throw new AttuneError('SAFETENSORS_TENSOR_UNKNOWN', `${this.path} has no tensor "${name}".`, {
      remedy: near
        ? `Did you mean "${near}"?`
        : `It has ${this.names.length}: ${this.names.slice(0, 5).join(', ')}${this.names.length > 5 ? ', ...' : ''}.`,
    });
  }

  /** Where a tensor's data lie in the file. @throws SAFETENSORS_TENSOR_UNKNOWN */
  location(name: string): TensorLocation {
    const { begin, dtype, shape } = this.info(name);
    return { path: this.path, begin: this.dataStart + begin, dtype, shape };
  }

  /**
   * The bytes as they lie in the file.
   *
   * @param room where they go. Default: new memory
   */
  async readBytes(name: string, room: Room = newRoom): Promise<Uint8Array<ArrayBuffer>> {
    const { begin, end } = this.info(name);
    const bytes = new Uint8Array(room(end - begin), 0, end - begin);
    await readFully(this.file, bytes, this.dataStart + begin, this.path);
    return bytes;
  }

  /**
   * One tensor in a dtype that Attune stores. F32, F16, BF16, I32 and U32 come as they are; F64
   * becomes float32; I64, U64 and the small integers become int32.
   *
   * @param room where its bytes go. Default: new memory
   * @throws SAFETENSORS_VALUE when an integer does not fit, SAFETENSORS_DTYPE for 8-bit floats
   */
  async read(name: string, room?: Room): Promise<HostTensorData> {
    const info = this.info(name);
    const bytes = await this.readBytes(name, room);
    const [dtype, data] = toStorage(info, bytes, this.path);
    return { name, dtype, shape: info.shape, data };
  }

  async close(): Promise<void> {
    await this.file.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

async function readHeaderLength(file: FileHandle, path: string, size: number): Promise<number> {
  if (size < 8)
    throw new AttuneError(
      'SAFETENSORS_TRUNCATED',
      `${path} has ${size} bytes; a safetensors file has at least 8.`,
      { remedy: 'The download or the copy stopped early: fetch the file again.' },
    );
  const prefix = new Uint8Array(8);
  await readFully(file, prefix, 0, path);
  const length = new DataView(prefix.buffer).getBigUint64(0, true);
  if (length > BigInt(size - 8)) {
    const lfs = new TextDecoder().decode(prefix) === 'version ';
    throw new AttuneError(
      'SAFETENSORS_TRUNCATED',
      `${path} says that its header has ${length} bytes, but only ${size - 8} follow.`,
      {
        remedy: lfs
          ? 'This is a Git LFS pointer, not the weights: run `git lfs pull`.'
          : 'The file is cut off, or is not a safetensors file at all: fetch it again.',
      },
    );
  }
  if (length > BigInt(maxHeaderBytes))
    throw new AttuneError(
      'SAFETENSORS_HEADER',
      `${path} says that its header has ${length} bytes; at most ${maxHeaderBytes} are accepted.`,
      { remedy: 'The file is not a safetensors file, or is damaged: fetch it again.' },
    );
  return Number(length);
}

function headerText(bytes: Uint8Array, path: string): string {
  const bad = (what: string, cause?: unknown) =>
    new AttuneError('SAFETENSORS_HEADER', `${path}: the header ${what}.`, {
      remedy: 'The file is not a safetensors file, or is damaged: fetch it again.',
      ...(cause !== undefined && { cause }),
    });
  // As the format says; white space and a byte order mark may only look like nothing.
  if (bytes[0] !== 0x7b) throw bad(bytes.length === 0 ? 'is empty' : 'does not begin with "{"');
  try {
    return decodeUtf8(bytes);
  } catch (cause) {
    throw bad(`is not UTF-8 text: ${(cause as Error).message}`, cause);
  }
}

async function readFully(
  file: FileHandle,
  target: Uint8Array,
  position: number,
  path: string,
): Promise<void> {
  for (let at = 0; at < target.length; ) {
    const length = Math.min(chunkBytes, target.length - at);
    const { bytesRead } = await file.read(target, at, length, position + at);
    if (bytesRead === 0)
      throw new AttuneError(
        'SAFETENSORS_TRUNCATED',
        `${path} ended at byte ${position + at} while ${target.length - at} more were expected.`,
        { remedy: 'Do not change the file while it is read; fetch it again.' },
      );
    at += bytesRead;
  }
}

function toStorage(
  info: TensorInfo,
  bytes: Uint8Array<ArrayBuffer>,
  path: string,
): [DType, HostArray] {
  const { buffer, byteLength } = bytes;
  switch (info.dtype) {
    case 'F32':
      return ['float32', new Float32Array(buffer, 0, byteLength / 4)];
    case 'F16':
      return ['float16', new Uint16Array(buffer, 0, byteLength / 2)];
    case 'BF16':
      return ['bfloat16', new Uint16Array(buffer, 0, byteLength / 2)];
    case 'I32':
      return ['int32', new Int32Array(buffer, 0, byteLength / 4)];
    case 'U32':
      return ['uint32', new Uint32Array(buffer, 0, byteLength / 4)];
    case 'F64':
      return ['float32', Float32Array.from(new Float64Array(buffer, 0, byteLength / 8))];
    case 'I64':
      return ['int32', narrow(new BigInt64Array(buffer, 0, byteLength / 8), info, path)];
    case 'U64':
      return ['int32', narrow(new BigUint64Array(buffer, 0, byteLength / 8), info, path)];
    case 'I16':
      return ['int32', Int32Array.from(new Int16Array(buffer, 0, byteLength / 2))];
    case 'U16':
      return ['int32', Int32Array.from(new Uint16Array(buffer, 0, byteLength / 2))];
    case 'I8':
      return ['int32', Int32Array.from(new Int8Array(buffer, 0, byteLength))];
    case 'U8':
    case 'BOOL':
      return ['int32', Int32Array.from(bytes)];
    case 'F8_E4M3':
    case 'F8_E5M2':
      throw new AttuneError(
        'SAFETENSORS_DTYPE',
        `${path}: tensor "${info.name}" is ${info.dtype} (${numel(info.shape)} elements of ${safetensorsBytes[info.dtype]} byte), which Attune does not compute with.`,
        { remedy: 'Convert the checkpoint to bfloat16 first, or read it with readBytes().' },
      );
  }
}

function narrow(values: BigInt64Array | BigUint64Array, info: TensorInfo, path: string) {
  return Int32Array.from(values as Iterable<bigint>, (value) => {
    if (value >= -(2n ** 31n) && value < 2n ** 31n) return Number(value);
    throw new AttuneError(
      'SAFETENSORS_VALUE',
      `${path}: tensor "${info.name}" (${info.dtype}) holds ${value}, which does not fit into int32.`,
      { remedy: 'Store ids as int32, or read the tensor with readBytes().' },
    );
  });
}
