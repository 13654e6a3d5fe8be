import type * as Fs from 'node:fs';
import type * as Arrow from 'apache-arrow';
import type * as Hyparquet from 'hyparquet';
import type { Compressors } from 'hyparquet';

// The functions of a process that reads Parquet and Arrow, given to it as their text: they name
// nothing but one another, and types. The libraries loop and allocate as a file tells them. In a
// process of its own a file that lies can neither hold up the program nor end it: a run of 2^31
// equal values, one flipped bit of a page, is a fatal error of the engine, in a thread as well.

/** What the process is told. */
export interface TableJob {
  readonly kind: 'parquet' | 'arrow';
  readonly file: string;
  readonly columns: readonly string[] | null;
  readonly binary: 'refuse' | 'base64';
}

/** What it answers when it is asked for more. */
export type TableAnswer =
  | {
      readonly kind: 'rows';
      readonly rows: readonly unknown[];
      /** Why rows are none, by their place in `rows`. */
      readonly faults: readonly (readonly [index: number, problem: string])[];
    }
  /** Rows that cannot be read: a sentence, and how many they are. */
  | { readonly kind: 'gap'; readonly problem: string; readonly rows: number }
  | { readonly kind: 'end' };

interface TableParts {
  readonly job: TableJob;
  readonly fs: typeof Fs;
  readonly hyparquet: typeof Hyparquet | null;
  readonly compressors: Compressors | null;
  readonly arrow: typeof Arrow | null;
  readonly decompressZstd: ((bytes: Uint8Array) => Uint8Array) | null;
}

/** A value as JSON has it. @throws an Error that says what it is, for bytes that are no text */
function plainValue(value: unknown, binary: TableJob['binary']): unknown {
  if (value === null || value === undefined) return null;
  if (typeof value === 'string' || typeof value === 'boolean') return value;
  // JSON has no NaN; tables write it for what is missing.
  if (typeof value === 'number') return Number.isFinite(value) ? value : null;
  if (typeof value === 'bigint')
    return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER
      ? Number(value)
      : value;
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  if (value instanceof Uint8Array) {
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(value);
    } catch {
      if (binary === 'base64') return Buffer.from(value).toString('base64');
      throw new Error(
        `${value.length} bytes that are no text; binary: "base64" reads them, columns: [...] leaves a column out`,
      );
    }
  }
  if (ArrayBuffer.isView(value))
    return Array.from(value as unknown as ArrayLike<unknown>, (item) => plainValue(item, binary));
  if (Array.isArray(value)) return value.map((item) => plainValue(item, binary));
  const object: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value as object))
    Object.defineProperty(object, key, {
      value: plainValue(item, binary),
      enumerable: true,
      configurable: true,
      writable: true,
    });
  return object;
}

/** Days since 1970 as a date. */
function dateText(days: number): string | null {
  const date = new Date(days * 86_400_000);
  return Number.isNaN(date.getTime()) ? null : date.toISOString().slice(0, 10);
}

/** A time since 1970 in units of which a second has 10^digits. */
function timeText(units: bigint, digits: number): string | null {
  const perSecond = 10n ** BigInt(digits);
  const part = ((units % perSecond) + perSecond) % perSecond;
  const date = new Date(Number(((units - part) / perSecond) * 1000n));
  if (Number.isNaN(date.getTime())) return null;
  const fraction = part.toString().padStart(digits, '0').replace(/0+$/, '').padEnd(3, '0');
  return date.toISOString().replace(/\.\d+Z$/, `.${fraction}Z`);
}

/** Names that two columns have, or that make no key. */
function* nameProblems(names: readonly string[]): Generator<TableAnswer> {
  const twice = [...new Set(names.filter((name, i) => names.indexOf(name) !== i))];
  for (const name of twice)
    yield {
      kind: 'gap',
      problem: `two columns are named ${JSON.stringify(name)}: one of them is read.`,
      rows: 0,
    };
  if (names.includes('__proto__'))
    yield { kind: 'gap', problem: 'a column is named "__proto__": it is not read.', rows: 0 };
}

function missingColumns(names: readonly string[], job: TableJob): TableAnswer | null {
  const missing = job.columns?.filter((name) => !names.includes(name)) ?? [];
  return missing.length === 0
    ? null
    : {
        kind: 'gap',
        problem: `no column is named ${missing.map((name) => JSON.stringify(name)).join(', ')}; there are ${names.slice(0, 20).join(', ')}.`,
        rows: 1,
      };
}

/** Columns as rows, some at a time. */
function* rowsOf(
  count: number,
  rowAt: (index: number) => Record<string, unknown>,
): Generator<TableAnswer> {
  for (let begin = 0; begin < count; begin += 4096) {
    const rows: unknown[] = [];
    const faults: [number, string][] = [];
    for (let i = begin; i < Math.min(count, begin + 4096); i++)
      try {
        rows.push(rowAt(i));
      } catch (error) {
        faults.push([rows.length, (error as Error).message]);
        rows.push(null);
      }
    yield { kind: 'rows', rows, faults };
  }
}

async function* parquetRows(parts: TableParts): AsyncGenerator<TableAnswer> {
  const { job, fs } = parts;
  const { parquetMetadataAsync, parquetReadObjects, parquetSchema } = parts.hyparquet!;
  const handle = fs.openSync(job.file, 'r');
  const byteLength = fs.fstatSync(handle).size;
  const file = {
    byteLength,
    slice(start: number, end = byteLength): ArrayBuffer {
      if (!(start >= 0 && end >= start && end <= byteLength))
        throw new Error(`bytes ${start} to ${end} of a file of ${byteLength}`);
      const bytes = new Uint8Array(end - start);
      for (let done = 0; done < bytes.length; ) {
        const read = fs.readSync(handle, bytes, done, bytes.length - done, start + done);
        if (read === 0) throw new Error('the file became shorter');
        done += read;
      }
      return bytes.buffer;
    },
  };
  if (byteLength < 12) {
    yield { kind: 'gap', problem: `no Parquet file: it has ${byteLength} bytes.`, rows: 1 };
    return;
  }
  let metadata: Hyparquet.FileMetaData;
  let names: string[];
  try {
    metadata = await parquetMetadataAsync(file, { geoparquet: false });
    names = parquetSchema(metadata).children.map(({ element }) => element.name);
  } catch (error) {
    yield {
      kind: 'gap',
      problem: `the footer cannot be read (${(error as Error).message}): the file is cut off or damaged.`,
      rows: 1,
    };
    return;
  }
  const missing = missingColumns(names, job);
  if (missing) return yield missing;
  yield* nameProblems(names);
  const wanted = (job.columns ?? names).filter((name) => name !== '__proto__');
  const readText = (bytes: Uint8Array): unknown =>
    bytes && plainValue(bytes, job.binary === 'base64' ? 'base64' : 'refuse');
  const orBytes = (bytes: Uint8Array): unknown => {
    try {
      return readText(bytes);
    } catch {
      return bytes; // Its row is the problem, not the page.
    }
  };
  const parsers = {
    stringFromBytes: orBytes,
    jsonFromBytes: orBytes,
    dateFromDays: (days: number) => dateText(days),
    timestampFromMilliseconds: (units: bigint) => timeText(BigInt(units), 3),
    timestampFromMicroseconds: (units: bigint) => timeText(BigInt(units), 6),
    timestampFromNanoseconds: (units: bigint) => timeText(BigInt(units), 9),
  };
  let listed = 0n;
  for (const [number, group] of metadata.row_groups.entries()) {
    listed += BigInt(group.num_rows);
    const count = Number(group.num_rows);
    const lost = (why: string, from: number, to: number): TableAnswer => ({
      kind: 'gap',
      problem: `${to - from} rows of row group ${number} cannot be read: ${why}.`,
      rows: Math.max(1, to - from),
    });
    const bytes = group.columns.reduce(
      (sum, { meta_data: column }) => sum + Number(column?.total_uncompressed_size ?? 0),
      0,
    );
    if (!(count >= 0 && count < 2 ** 31) || !(bytes >= 0)) {
      yield lost('the footer names a number of rows or bytes that cannot be', 0, 0);
      continue;
    }
    // Rows of some 16 MB at once: a row group may have any number.
    const step = Math.max(1, Math.min(2 ** 17, Math.floor((count * 2 ** 24) / Math.max(bytes, 1))));
    for (let begin = 0; begin < count; begin += step) {
      const end = Math.min(count, begin + step);
      let rows: Record<string, unknown>[];
      try {
        rows = await parquetReadObjects({
          file,
          metadata: { ...metadata, row_groups: [group], num_rows: group.num_rows },
          rowStart: begin,
          rowEnd: end,
          columns: wanted,
          parsers: parsers as unknown as Partial<Hyparquet.ParquetParsers>,
          ...(parts.compressors && { compressors: parts.compressors }),
        });
        if (rows.length !== end - begin) throw new Error(`it has ${rows.length} rows`);
        for (const name of wanted)
          if (rows[rows.length - 1]?.[name] === undefined)
            throw new Error(`the column ${JSON.stringify(name)} is shorter`);
      } catch (error) {
        yield lost((error as Error).message, begin, end);
        continue;
      }
      yield* rowsOf(rows.length, (i) => {
        const row: Record<string, unknown> = {};
        for (const name of wanted) {
          try {
            row[name] = plainValue(rows[i]![name], job.binary);
          } catch (error) {
            throw new Error(`column ${JSON.stringify(name)}: ${(error as Error).message}.`);
          }
        }
        return row;
      });
    }
  }
  if (listed !== BigInt(metadata.num_rows))
    yield {
      kind: 'gap',
      problem: `the footer names ${metadata.num_rows} rows, and its row groups have ${listed}.`,
      rows: 1,
    };
}

/** What LZ4 compressed, as frames. https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md */
function lz4Frame(input: Uint8Array): Uint8Array {
  const view = new DataView(input.buffer, input.byteOffset, input.byteLength);
  if (view.getUint32(0, true) !== 0x184d2204) throw new Error('no LZ4 frame');
  const flags = input[4]!;
  const hasSize = (flags & 8) !== 0;
  let at = 6 + (hasSize ? 8 : 0) + (flags & 1 ? 4 : 0) + 1;
  let output = new Uint8Array(hasSize ? Number(view.getBigUint64(6, true)) : input.length * 4);
  let length = 0;
  const room = (more: number): void => {
    if (length + more <= output.length) return;
    if (length + more > 2 ** 31) throw new Error('more than 2 GiB in an LZ4 frame');
    const larger = new Uint8Array(Math.max(length + more, 2 * output.length));
    larger.set(output.subarray(0, length));
    output = larger;
  };
  const copy = (bytes: Uint8Array): void => {
    room(bytes.length);
    output.set(bytes, length);
    length += bytes.length;
  };
  for (;;) {
    const header = view.getUint32(at, true);
    at += 4;
    if (header === 0) return output.subarray(0, length);
    const end = at + (header & 0x7fffffff);
    if (end > input.length) throw new Error('an LZ4 block ends too early');
    if (header >>> 31) copy(input.subarray(at, end));
    else
      for (let i = at; i < end; ) {
        const token = input[i++]!;
        let literals = token >> 4;
        if (literals === 15)
          for (let more = 255; more === 255; literals += more) more = input[i++] ?? 0;
        if (i + literals > end) throw new Error('an LZ4 block ends too early');
        copy(input.subarray(i, i + literals));
        i += literals;
        if (i >= end) break;
        const offset = input[i++]! | ((input[i++] ?? 0) << 8);
        if (offset === 0 || offset > length) throw new Error('an LZ4 match out of range');
        let match = (token & 15) + 4;
        if (match === 19) for (let more = 255; more === 255; match += more) more = input[i++] ?? 0;
        room(match);
        for (let from = length - offset; match > 0; match--) output[length++] = output[from++]!;
      }
    at = end + (flags & 16 ? 4 : 0);
  }
}

/** A value of an Arrow column by its type. */
function arrowValue(
  { DataType, TimeUnit }: typeof Arrow,
  type: Arrow.DataType,
  value: unknown,
  binary: TableJob['binary'],
): unknown {
  const inner = (of: Arrow.DataType, item: unknown): unknown =>
    arrowValue({ DataType, TimeUnit } as typeof Arrow, of, item, binary);
  if (value === null || value === undefined) return null;
  if (DataType.isDictionary(type)) return inner(type.dictionary, value);
  if (DataType.isTimestamp(type)) return timeText(BigInt(Math.round(Number(value) * 1000)), 6);
  if (DataType.isDate(type)) {
    const days = Number(value) / 86_400_000;
    return type.unit === 0 ? dateText(days) : new Date(Number(value)).toISOString();
  }
  if (DataType.isDecimal(type)) {
    const words = value as Uint32Array;
    let number = 0n;
    for (let i = words.length - 1; i >= 0; i--) number = (number << 32n) | BigInt(words[i]!);
    return Number(BigInt.asIntN(32 * words.length, number)) / 10 ** type.scale;
  }
  if (DataType.isList(type) || DataType.isFixedSizeList(type) || DataType.isLargeList(type)) {
    const child = type.children[0]!.type;
    return Array.from(value as Iterable<unknown>, (item) => inner(child, item));
  }
  if (DataType.isStruct(type)) {
    const fields = (value as { toJSON(): Record<string, unknown> }).toJSON();
    return Object.fromEntries(
      type.children.map(({ name, type: of }) => [name, inner(of, fields[name])]),
    );
  }
  if (DataType.isMap(type)) {
    const item = (type.children[0]!.type as Arrow.Struct).children[1]!.type;
    return Object.fromEntries(
      Array.from(value as Iterable<[unknown, unknown]>, ([key, one]) => [
        String(key),
        inner(item, one),
      ]),
    );
  }
  return plainValue(value, binary);
}

async function* arrowRows(parts: TableParts): AsyncGenerator<TableAnswer> {
  const { job, fs } = parts;
  const arrow = parts.arrow!;
  arrow.compressionRegistry.set(arrow.CompressionType.LZ4_FRAME, { decode: lz4Frame });
  const { decompressZstd } = parts;
  if (decompressZstd)
    arrow.compressionRegistry.set(arrow.CompressionType.ZSTD, { decode: decompressZstd });
  // A file is a stream with a beginning, and a footer that only repeats where things are.
  const handle = fs.openSync(job.file, 'r');
  const { size } = fs.fstatSync(handle);
  const edge = (at: number): Buffer => {
    const bytes = Buffer.alloc(10);
    fs.readSync(handle, bytes, 0, 10, Math.max(0, at));
    return bytes;
  };
  const isFile = edge(0).toString('latin1', 0, 6) === 'ARROW1';
  const tail = edge(size - 10);
  const isWhole = !isFile || tail.toString('latin1', 4) === 'ARROW1';
  const footer = isFile && isWhole ? tail.readInt32LE(0) + 10 : 0;
  fs.closeSync(handle);
  const end = footer >= 10 && footer < size - 8 ? size - footer : size;
  const stream = fs.createReadStream(job.file, {
    start: isFile ? 8 : 0,
    end: Math.max(end - 1, isFile ? 8 : 0),
    highWaterMark: 2 ** 18,
  });
  let count = 0;
  try {
    const reader = await arrow.RecordBatchReader.from(stream as AsyncIterable<Uint8Array>);
    await reader.open();
    const { fields } = reader.schema;
    const names = fields.map(({ name }) => name);
    const missing = missingColumns(names, job);
    if (missing) return yield missing;
    yield* nameProblems(names);
    const wanted = fields.filter(
      ({ name }) => name !== '__proto__' && (job.columns?.includes(name) ?? true),
    );
    for await (const batch of reader) {
      // A row takes a bit, if not more; but for columns of nulls.
      if (batch.numRows > 8 * size + 2 ** 19) throw new Error(`a batch of ${batch.numRows} rows`);
      const columns = wanted.map(({ name, type }) => ({
        name,
        type,
        values: batch.getChild(name)!,
      }));
      yield* rowsOf(batch.numRows, (i) => {
        const row: Record<string, unknown> = {};
        for (const { name, type, values } of columns) {
          try {
            row[name] = arrowValue(arrow, type, values.get(i), job.binary);
          } catch (error) {
            throw new Error(`column ${JSON.stringify(name)}: ${(error as Error).message}.`);
          }
        }
        return row;
      });
      count += batch.numRows;
    }
  } catch (error) {
    yield {
      kind: 'gap',
      problem: `what comes behind ${count} rows cannot be read (${(error as Error).message}): the file is cut off or damaged.`,
      rows: 1,
    };
    return;
  } finally {
    stream.destroy();
  }
  if (!isWhole)
    yield {
      kind: 'gap',
      problem: `the file is cut off behind ${count} rows: its end is missing.`,
      rows: 1,
    };
}

/** Answers each message with what comes next. */
function serveTable(parts: TableParts): void {
  const answers = parts.job.kind === 'parquet' ? parquetRows(parts) : arrowRows(parts);
  process.on('message', () => {
    answers.next().then(
      ({ done, value }) => process.send!(done ? { kind: 'end' } : value),
      (error: unknown) => {
        const problem = `the file cannot be read (${(error as Error).message}).`;
        process.send!({ kind: 'gap', problem, rows: 1 } satisfies TableAnswer);
      },
    );
  });
}

/** The text of the functions. */
export const readerFunctions: string = [
  plainValue,
  dateText,
  timeText,
  nameProblems,
  missingColumns,
  rowsOf,
  parquetRows,
  lz4Frame,
  arrowValue,
  arrowRows,
  serveTable,
]
  .map(String)
  .join('\n');
/** What the process begins with. */
export const serveName: string = serveTable.name;
