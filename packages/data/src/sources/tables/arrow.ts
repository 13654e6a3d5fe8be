import { Buffer } from 'node:buffer';
import { closeSync, createReadStream, fstatSync, openSync, readSync } from 'node:fs';
import {
  CompressionType,
  compressionRegistry,
  DataType,
  RecordBatchReader,
  type Struct,
} from 'apache-arrow';
import { decompress } from 'fzstd';
import { missingColumns, nameProblems, rowsOf } from './columns.js';
import { lz4Frame } from './lz4Frame.js';
import type { TableAnswer, TableJob } from './messages.js';
import type { Patience } from './patience.js';
import { dateText, plainValue, timeText } from './plainValue.js';

/** A value of an Arrow column by its type. */
function arrowValue(type: DataType, value: unknown, binary: TableJob['binary']): unknown {
  const inner = (of: DataType, item: unknown): unknown => arrowValue(of, item, binary);
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
    const item = (type.children[0]!.type as Struct).children[1]!.type;
    return Object.fromEntries(
      Array.from(value as Iterable<[unknown, unknown]>, ([key, one]) => [
        String(key),
        inner(item, one),
      ]),
    );
  }
  return plainValue(value, binary);
}

/** The rows of an Arrow file or stream. */
export async function* arrowRows(job: TableJob, patience: Patience): AsyncGenerator<TableAnswer> {
  compressionRegistry.set(CompressionType.LZ4_FRAME, { decode: lz4Frame });
  compressionRegistry.set(CompressionType.ZSTD, { decode: (bytes) => decompress(bytes).slice() });
  // A file is a stream with a beginning, and a footer that only repeats where things are.
  const handle = openSync(job.file, 'r');
  const { size } = fstatSync(handle);
  const edge = (at: number): Buffer => {
    const bytes = Buffer.alloc(10);
    readSync(handle, bytes, 0, 10, Math.max(0, at));
    return bytes;
  };
  const isFile = edge(0).toString('latin1', 0, 6) === 'ARROW1';
  const tail = edge(size - 10);
  const isWhole = !isFile || tail.toString('latin1', 4) === 'ARROW1';
  const footer = isFile && isWhole ? tail.readInt32LE(0) + 10 : 0;
  closeSync(handle);
  const end = footer >= 10 && footer < size - 8 ? size - footer : size;
  const stream = createReadStream(job.file, {
    start: isFile ? 8 : 0,
    end: Math.max(end - 1, isFile ? 8 : 0),
    highWaterMark: 2 ** 18,
  });
  let count = 0;
  try {
    const reader = await RecordBatchReader.from(stream as AsyncIterable<Uint8Array>);
    await reader.open();
    const { fields } = reader.schema;
    const names = fields.map(({ name }) => name);
    const missing = missingColumns(names, job);
    if (missing) return yield missing;
    yield* nameProblems(names);
    const wanted = fields.filter(
      ({ name }) => name !== '__proto__' && (job.columns?.includes(name) ?? true),
    );
    patience.begin(size);
    for await (const batch of reader) {
      patience.begin(size, batch.numRows);
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
            row[name] = arrowValue(type, values.get(i), job.binary);
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
