import { Buffer } from 'node:buffer';
import { CompressionType, compressionRegistry, RecordBatchReader } from 'apache-arrow';
import { decompress } from 'fzstd';
import { type ArrowFooter, readFooter } from './arrowFooter.js';
import { type ArrowStream, messagesOf } from './arrowMessages.js';
import { valuesOf } from './arrowValues.js';
import { missingColumns, nameProblems, rowsOf, within } from './columns.js';
import { type BytesOfFile, bytesOfFile } from './fileBytes.js';
import { lz4Frame } from './lz4Frame.js';
import type { TableAnswer, TableJob } from './messages.js';
import type { Patience } from './patience.js';

/** The rows of an Arrow file or stream. */
export async function* arrowRows(job: TableJob, patience: Patience): AsyncGenerator<TableAnswer> {
  compressionRegistry.set(CompressionType.LZ4_FRAME, { decode: lz4Frame });
  compressionRegistry.set(CompressionType.ZSTD, { decode: (bytes) => decompress(bytes).slice() });
  const file = bytesOfFile(job.file);
  const { isWhole, ...stream } = streamOf(file);
  let count = 0;
  try {
    let fault: unknown = null;
    // The library asks for the next message before it gives the batch of this one.
    function* wholeMessages(): Generator<Uint8Array> {
      try {
        yield* messagesOf(file, stream, patience);
      } catch (error) {
        fault = error;
      }
    }
    const reader = RecordBatchReader.from(wholeMessages() as Iterable<Uint8Array>);
    reader.open();
    if (fault && reader.schema === undefined) throw fault;
    const { fields } = reader.schema;
    const names = fields.map(({ name }) => name);
    const missing = missingColumns(names, job);
    if (missing) return yield missing;
    yield* nameProblems(names);
    for (const batch of reader) {
      if (batch.numRows === 0) continue;
      // A row takes a bit, if not more; but for columns of nulls.
      if (batch.numRows > 8 * file.byteLength + 2 ** 19)
        throw new Error(`a batch of ${batch.numRows} rows`);
      const columns = fields.flatMap(({ name }, i) =>
        name === '__proto__' || names.indexOf(name) < i || job.columns?.includes(name) === false
          ? []
          : [{ name, read: within(name, () => valuesOf(batch.data.children[i]!, job.binary)) }],
      );
      for (const answer of rowsOf(batch.numRows, (i) => {
        const row: Record<string, unknown> = {};
        for (const { name, read } of columns) row[name] = within(name, () => read(i), '.');
        return row;
      })) {
        yield answer;
        patience.begin(file.byteLength);
      }
      count += batch.numRows;
    }
    if (fault) throw fault;
  } catch (error) {
    yield {
      kind: 'gap',
      problem: `what comes behind ${count} rows cannot be read (${(error as Error).message}): the file is cut off or damaged.`,
      rows: 1,
    };
    return;
  }
  if (!isWhole)
    yield {
      kind: 'gap',
      problem: `the file is cut off behind ${count} rows: its end is missing.`,
      rows: 1,
    };
}

/** A file is a stream with a beginning, and a footer that says where things are. */
function streamOf(file: BytesOfFile): ArrowStream & { readonly isWhole: boolean } {
  const { byteLength: size } = file;
  const edge = (from: number) =>
    Buffer.from(file.slice(Math.max(0, from), Math.min(size, Math.max(0, from) + 10)));
  const isFile = edge(0).toString('latin1', 0, 6) === 'ARROW1';
  const tail = edge(size - 10);
  const isWhole = !isFile || tail.toString('latin1', 4) === 'ARROW1';
  const footer = isFile && isWhole && size > 18 ? tail.readInt32LE(0) + 10 : 0;
  const end = footer >= 10 && footer < size - 8 ? size - footer : size;
  return { begin: isFile ? Math.min(8, end) : 0, end, footer: footerOf(file, end), isWhole };
}

/** null: there is no footer, or none that can be read. */
function footerOf(file: BytesOfFile, end: number): ArrowFooter | null {
  const size = file.byteLength - 10 - end;
  try {
    return size > 0 ? readFooter(file, size) : null;
  } catch {
    return null;
  }
}
