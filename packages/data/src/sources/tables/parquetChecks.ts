import type { DataReader, Encoding, ParquetType } from 'hyparquet';
import { deltaBinaryUnpack } from 'hyparquet/src/delta.js';
import { readVarInt } from 'hyparquet/src/thrift.js';

// The library decodes as a page says. What it says is looked at before: lengths of runs and of
// texts that cannot be would fill the memory, or be read as other values.

export const bitWidthOf = (value: number): number => 32 - Math.clz32(value);

/** A section of the levels of a page, or of indices. @throws unless its runs hold `count` values */
export function checkRuns(
  page: Uint8Array,
  begin: number,
  end: number,
  bitWidth: number,
  count: number,
): void {
  if (!(begin >= 0 && end >= begin && end <= page.length)) throw new Error('levels behind a page');
  const reader: DataReader = { view: viewOf(page), offset: begin };
  for (let seen = 0; seen < count; ) {
    if (reader.offset >= end) throw new Error(`${seen} levels or indices where there are ${count}`);
    const header = readVarInt(reader);
    const length = header >>> 1;
    if (header & 1) {
      // Eight values at once; the last run of a page may be filled up.
      reader.offset += length * bitWidth;
      seen += 8 * length;
      if (length === 0 || seen > count + 512) throw new Error(`a run of ${8 * length} values`);
    } else {
      reader.offset += (bitWidth + 7) >> 3;
      seen += length;
      if (length === 0 || seen > count) throw new Error(`a run of ${length} values`);
    }
    if (reader.offset > end) throw new Error('a run ends behind its page');
  }
}

/** What the values of a page need to know of it. */
export interface PageValues {
  readonly page: Uint8Array;
  /** Where they begin. */
  readonly at: number;
  /** How many there are that are not null. */
  readonly count: number;
  readonly encoding: Encoding;
  readonly type: ParquetType;
  readonly typeLength: number;
}

/** @throws where the library would read other values than those, or without an end */
export function checkValues({ page, at, count, encoding, type, typeLength }: PageValues): void {
  const left = page.length - at;
  if (left < 0 || count < 0) throw new Error('its values begin behind the page');
  const width = widths[type] ?? (type === 'FIXED_LEN_BYTE_ARRAY' ? typeLength : null);
  switch (encoding) {
    case 'PLAIN':
      if (width !== null && left !== count * width) throw new Error(sized(left, count, width));
      return;
    case 'BYTE_STREAM_SPLIT':
      if (width === null || left !== count * width) throw new Error(sized(left, count, width));
      return;
    case 'RLE': {
      const length = viewOf(page).getUint32(at, true);
      checkRuns(page, at + 4, at + 4 + length, 1, count);
      return;
    }
    case 'PLAIN_DICTIONARY':
    case 'RLE_DICTIONARY': {
      const bitWidth = page[at] ?? 0;
      // The library reads wider ones wrongly. So large a dictionary takes gigabytes.
      if (bitWidth > 24) throw new Error(`indices of ${bitWidth} bits`);
      if (bitWidth > 0) checkRuns(page, at + 1, page.length, bitWidth, count);
      return;
    }
    case 'DELTA_BINARY_PACKED':
      checkDeltas(page, at, count);
      return;
    case 'DELTA_LENGTH_BYTE_ARRAY':
      checkDeltas(page, at, count);
      return;
    case 'DELTA_BYTE_ARRAY':
      checkPrefixes(page, at, count, type === 'FIXED_LEN_BYTE_ARRAY' ? typeLength : null);
      return;
  }
}

const widths: Partial<Record<ParquetType, number>> = {
  INT32: 4,
  INT64: 8,
  INT96: 12,
  FLOAT: 4,
  DOUBLE: 8,
};

const sized = (bytes: number, count: number, width: number | null): string =>
  `${bytes} bytes for ${count} values of ${width}`;

const viewOf = (page: Uint8Array): DataView =>
  new DataView(page.buffer, page.byteOffset, page.byteLength);

function checkDeltas(page: Uint8Array, at: number, count: number): void {
  const reader: DataReader = { view: viewOf(page), offset: at };
  const [block, miniblocks, listed] = [readVarInt(reader), readVarInt(reader), readVarInt(reader)];
  const isBlock = block > 0 && block % 128 === 0 && miniblocks > 0;
  if (!isBlock || (block / miniblocks) % 32 !== 0)
    throw new Error(`deltas in blocks of ${block} and ${miniblocks}`);
  if (listed !== count) throw new Error(`${listed} deltas where there are ${count} values`);
}

/** Texts that begin as the one before: as a text they may be far longer than the page. */
function checkPrefixes(page: Uint8Array, at: number, count: number, width: number | null): void {
  if (count === 0) return;
  const reader: DataReader = { view: viewOf(page), offset: at };
  const lengths = (): Int32Array => {
    checkDeltas(page, reader.offset, count);
    const read = new Int32Array(count);
    deltaBinaryUnpack(reader, count, read);
    return read;
  };
  const [prefixes, suffixes] = [lengths(), lengths()];
  let [before, bytes] = [0, 0];
  for (let i = 0; i < count; i++) {
    const [prefix, suffix] = [prefixes[i]!, suffixes[i]!];
    if (prefix < 0 || suffix < 0 || prefix > before) throw new Error(`a prefix of ${prefix} bytes`);
    before = prefix + suffix;
    bytes += suffix;
    if (width !== null && before !== width)
      throw new Error(`${before} bytes in a place for ${width}`);
  }
  if (reader.offset + bytes > page.length) throw new Error('texts behind the end of a page');
}
