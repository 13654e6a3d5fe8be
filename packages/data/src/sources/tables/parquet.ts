import { fstatSync, openSync, readSync } from 'node:fs';
import {
  type FileMetaData,
  type ParquetParsers,
  parquetMetadataAsync,
  parquetReadObjects,
  parquetSchema,
} from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { missingColumns, nameProblems, rowsOf } from './columns.js';
import type { TableAnswer, TableJob } from './messages.js';
import type { Patience } from './patience.js';
import { dateText, plainValue, timeText } from './plainValue.js';

/** The rows of a Parquet file. */
export async function* parquetRows(job: TableJob, patience: Patience): AsyncGenerator<TableAnswer> {
  const handle = openSync(job.file, 'r');
  const byteLength = fstatSync(handle).size;
  const file = {
    byteLength,
    slice(start: number, end = byteLength): ArrayBuffer {
      if (!(start >= 0 && end >= start && end <= byteLength))
        throw new Error(`bytes ${start} to ${end} of a file of ${byteLength}`);
      const bytes = new Uint8Array(end - start);
      for (let done = 0; done < bytes.length; ) {
        const read = readSync(handle, bytes, done, bytes.length - done, start + done);
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
  let metadata: FileMetaData;
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
      patience.begin(bytes, count * wanted.length);
      try {
        rows = await parquetReadObjects({
          file,
          metadata: { ...metadata, row_groups: [group], num_rows: group.num_rows },
          rowStart: begin,
          rowEnd: end,
          columns: wanted,
          parsers: parsers as unknown as Partial<ParquetParsers>,
          compressors,
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
