import { formatShape, numel } from '../tensor/shape.js';
import { AttuneError } from '../util/errors.js';
import { isPlainObject } from '../util/json.js';

/** Bytes of one element of each dtype that the format knows. Not all can be computed with. */
export const safetensorsBytes = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E5M2: 1,
  F8_E4M3: 1,
  I16: 2,
  U16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  U32: 4,
  F32: 4,
  F64: 8,
  I64: 8,
  U64: 8,
} as const;

export type SafetensorsDType = keyof typeof safetensorsBytes;

/** What the header says of one tensor. Offsets are bytes from the start of the data section. */
export interface TensorInfo {
  readonly name: string;
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

export interface SafetensorsHeader {
  /** In the order in which the data lies in the file. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** As the format's own reader: no header of a real model comes near, and a lie may not cost memory. */
export const maxHeaderBytes = 100_000_000;

const redo = 'The file is damaged or was made by a broken writer: download or save it again.';

export const isSafetensorsDType = (name: unknown): name is SafetensorsDType =>
  typeof name === 'string' && Object.hasOwn(safetensorsBytes, name);

/**
 * Checks a header against the size of its file, before anything is allocated for data.
 *
 * @param dataBytes what follows the header in the file
 * @throws SAFETENSORS_HEADER, SAFETENSORS_DTYPE, SAFETENSORS_SIZE, SAFETENSORS_OFFSETS, SAFETENSORS_TRUNCATED
 */
export function parseHeader(text: string, path: string, dataBytes: number): SafetensorsHeader {
  const json = parseJson(text, path);
  const metadata: Record<string, string> = {};
  const infos: TensorInfo[] = [];
  for (const [name, entry] of Object.entries(json)) {
    if (name === '__metadata__') Object.assign(metadata, parseMetadata(entry, path));
    else infos.push(parseEntry(name, entry, path));
  }
  infos.sort((a, b) => a.begin - b.begin || a.end - b.end);
  checkLayout(infos, path, dataBytes);
  return { tensors: new Map(infos.map((info) => [info.name, info])), metadata };
}

function parseJson(text: string, path: string): Record<string, unknown> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new AttuneError(
      'SAFETENSORS_HEADER',
      `${path}: the header is not JSON (${(cause as Error).message}).`,
      { remedy: redo, cause },
    );
  }
  if (!isPlainObject(json))
    throw new AttuneError(
      'SAFETENSORS_HEADER',
      `${path}: the header is ${Array.isArray(json) ? 'a list' : typeof json}, expected an object of tensors.`,
      { remedy: redo },
    );
  return json;
}

function parseMetadata(entry: unknown, path: string): Record<string, string> {
  if (isPlainObject(entry) && Object.values(entry).every((v) => typeof v === 'string'))
    return entry as Record<string, string>;
  throw new AttuneError(
    'SAFETENSORS_HEADER',
    `${path}: __metadata__ is ${JSON.stringify(entry)?.slice(0, 80)}, expected an object of strings.`,
    { remedy: redo },
  );
}

const isCount = (value: unknown): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;

function parseEntry(name: string, entry: unknown, path: string): TensorInfo {
  const { dtype, shape, data_offsets: offsets } = isPlainObject(entry) ? entry : {};
  if (typeof dtype === 'string' && !isSafetensorsDType(dtype))
    throw new AttuneError(
      'SAFETENSORS_DTYPE',
      `${path}: tensor "${name}" has the unknown dtype "${dtype}"; expected one of ${Object.keys(safetensorsBytes).join(', ')}.`,
      { remedy: 'Convert the file to float32, float16 or bfloat16 first.' },
    );
  if (
    !isSafetensorsDType(dtype) ||
    !Array.isArray(shape) ||
    !shape.every(isCount) ||
    !Array.isArray(offsets) ||
    offsets.length !== 2
  )
    throw new AttuneError(
      'SAFETENSORS_HEADER',
      `${path}: tensor "${name}" is described by ${JSON.stringify(entry)?.slice(0, 120)}; expected { dtype, shape: [sizes >= 0], data_offsets: [begin, end] }.`,
      { remedy: redo },
    );
  const [begin, end] = offsets as [unknown, unknown];
  if (!isCount(begin) || !isCount(end) || end < begin)
    throw new AttuneError(
      'SAFETENSORS_OFFSETS',
      `${path}: tensor "${name}" lies at [${String(begin)}, ${String(end)}]; expected integers 0 <= begin <= end.`,
      { remedy: redo },
    );
  const bytes = numel(shape) * safetensorsBytes[dtype];
  if (!Number.isSafeInteger(bytes) || bytes !== end - begin)
    throw new AttuneError(
      'SAFETENSORS_SIZE',
      `${path}: tensor "${name}" ${dtype} ${formatShape(shape)} needs ${bytes} bytes, but its offsets [${begin}, ${end}] hold ${end - begin}.`,
      { remedy: redo },
    );
  return { name, dtype, shape, begin, end };
}

/** The tensors fill the data section from its first byte to its last, each byte once. */
function checkLayout(sorted: readonly TensorInfo[], path: string, dataBytes: number): void {
  let at = 0;
  let before: TensorInfo | undefined;
  for (const info of sorted) {
    if (info.begin !== at) {
      const found =
        info.begin < at
          ? `overlaps "${before?.name}", which ends at ${at}`
          : `leaves a gap of ${info.begin - at} bytes after ${before ? `"${before.name}"` : 'the header'}`;
      throw new AttuneError(
        'SAFETENSORS_OFFSETS',
        `${path}: tensor "${info.name}" at [${info.begin}, ${info.end}] ${found}; expected it to begin at ${at}.`,
        { remedy: redo },
      );
    }
    if (info.end > dataBytes)
      throw new AttuneError(
        'SAFETENSORS_TRUNCATED',
        `${path}: tensor "${info.name}" ends at byte ${info.end} of the data, but the file has only ${dataBytes}.`,
        { remedy: 'The download or the copy stopped early: fetch the file again.' },
      );
    at = info.end;
    before = info;
  }
  if (at !== dataBytes)
    throw new AttuneError(
      'SAFETENSORS_OFFSETS',
      `${path}: the tensors end at byte ${at} of the data, but ${dataBytes - at} bytes follow; expected none.`,
      { remedy: redo },
    );
}
