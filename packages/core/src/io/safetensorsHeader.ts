import { formatShape, numel } from '../tensor/shape.js';
import { briefly } from '../util/briefly.js';
import { AttuneError } from '../util/errors.js';
import { JsonNumber, type JsonValue, parseJson, strictJson } from '../util/losslessJson.js';

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

/** A storage type by its name in safetensors files. */
export type SafetensorsDType = keyof typeof safetensorsBytes;

/** What the header says of one tensor. Offsets are bytes from the start of the data section. */
export interface TensorInfo {
  readonly name: string;
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

/** What the header of a safetensors file says. */
export interface SafetensorsHeader {
  /** In the order in which the data lies in the file. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * As the format's own reader: no header of a real model comes near, and a lie may not cost memory.
 */
export const maxHeaderBytes = 100_000_000;

/**
 * Tensors and strings of metadata with their parts: some 100,000 tensors. The largest shards of
 * published models have a tenth of that.
 */
const maxHeaderValues = 1_000_000;

/** torch's own limit. */
const maxRank = 64;

const redo = 'The file is damaged or was made by a broken writer: download or save it again.';

/** Whether a text is a storage type of safetensors. */
export const isSafetensorsDType = (name: unknown): name is SafetensorsDType =>
  typeof name === 'string' && Object.hasOwn(safetensorsBytes, name);

/**
 * Checks a header against the size of its file, before anything is allocated for data.
 *
 * @param dataBytes what follows the header in the file
 * @throws SAFETENSORS_HEADER, SAFETENSORS_DTYPE, SAFETENSORS_SIZE, SAFETENSORS_OFFSETS,
 *   SAFETENSORS_TRUNCATED
 */
export function parseHeader(text: string, path: string, dataBytes: number): SafetensorsHeader {
  const metadata: Record<string, string> = {};
  const infos: TensorInfo[] = [];
  for (const [name, entry] of parseJsonHeader(text, path)) {
    if (name === '__metadata__') Object.assign(metadata, parseMetadata(entry, path));
    else infos.push(parseEntry(name, entry, path));
  }
  infos.sort((a, b) => a.begin - b.begin || a.end - b.end);
  checkLayout(infos, path, dataBytes);
  return { tensors: new Map(infos.map((info) => [info.name, info])), metadata };
}

function parseJsonHeader(text: string, path: string): ReadonlyMap<string, JsonValue> {
  let json: JsonValue;
  try {
    json = parseJson(text, { ...strictJson, maxDepth: 3, maxValues: maxHeaderValues });
  } catch (cause) {
    throw new AttuneError(
      'SAFETENSORS_HEADER',
      `${path}: the header is not JSON of the format: ${(cause as Error).message}.`,
      { remedy: redo, cause },
    );
  }
  if (json instanceof Map) return json;
  throw new AttuneError(
    'SAFETENSORS_HEADER',
    `${path}: the header is ${briefly(json)}, expected an object of tensors.`,
    { remedy: redo },
  );
}

function parseMetadata(entry: JsonValue, path: string): Record<string, string> {
  if (entry instanceof Map && [...entry.values()].every((v) => typeof v === 'string'))
    return Object.fromEntries(entry) as Record<string, string>;
  throw new AttuneError(
    'SAFETENSORS_HEADER',
    `${path}: __metadata__ is ${briefly(entry)}, expected an object of strings.`,
    { remedy: redo },
  );
}

/** A whole number as the format writes it: `2.0` and `-0` are none. Null when it is none. */
const countOf = (value: JsonValue | undefined): number | null =>
  value instanceof JsonNumber && /^\d+$/.test(value.text) && Number.isSafeInteger(value.value)
    ? value.value
    : null;

const isList = (value: JsonValue | undefined): value is readonly JsonValue[] =>
  Array.isArray(value);

function parseEntry(name: string, entry: JsonValue, path: string): TensorInfo {
  const part = (key: string) => (entry instanceof Map ? entry.get(key) : undefined);
  const [dtype, sizes, offsets] = [part('dtype'), part('shape'), part('data_offsets')];
  const tensor = `${path}: tensor ${briefly(name, 200)}`;
  if (typeof dtype === 'string' && !isSafetensorsDType(dtype))
    throw new AttuneError(
      'SAFETENSORS_DTYPE',
      `${tensor} has the unknown dtype ${briefly(dtype)}; expected one of ${Object.keys(safetensorsBytes).join(', ')}.`,
      { remedy: 'Convert the file to float32, float16 or bfloat16 first.' },
    );
  const shape = isList(sizes) && sizes.length <= maxRank ? sizes.map(countOf) : [null];
  if (
    !isSafetensorsDType(dtype) ||
    !shape.every((size) => size !== null) ||
    !isList(offsets) ||
    offsets.length !== 2
  )
    throw new AttuneError(
      'SAFETENSORS_HEADER',
      `${tensor} is described by ${briefly(entry, 120)}; expected { dtype, shape: [at most ${maxRank} sizes >= 0], data_offsets: [begin, end] }.`,
      { remedy: redo },
    );
  const [begin, end] = [countOf(offsets[0]), countOf(offsets[1])];
  if (begin === null || end === null || end < begin)
    throw new AttuneError(
      'SAFETENSORS_OFFSETS',
      `${tensor} lies at [${briefly(offsets[0])}, ${briefly(offsets[1])}]; expected integers 0 <= begin <= end.`,
      { remedy: redo },
    );
  const bytes = numel(shape) * safetensorsBytes[dtype];
  if (!Number.isSafeInteger(bytes) || bytes !== end - begin)
    throw new AttuneError(
      'SAFETENSORS_SIZE',
      `${tensor} ${dtype} ${formatShape(shape)} needs ${bytes} bytes, but its offsets [${begin}, ${end}] hold ${end - begin}.`,
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
          ? `overlaps ${briefly(before?.name, 200)}, which ends at ${at}`
          : `leaves a gap of ${info.begin - at} bytes after ${before ? briefly(before.name, 200) : 'the header'}`;
      throw new AttuneError(
        'SAFETENSORS_OFFSETS',
        `${path}: tensor ${briefly(info.name, 200)} at [${info.begin}, ${info.end}] ${found}; expected it to begin at ${at}.`,
        { remedy: redo },
      );
    }
    if (info.end > dataBytes)
      throw new AttuneError(
        'SAFETENSORS_TRUNCATED',
        `${path}: tensor ${briefly(info.name, 200)} ends at byte ${info.end} of the data, but the file has only ${dataBytes}.`,
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
