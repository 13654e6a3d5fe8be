import { AttuneError } from '@attune/core/util';
import type { ElementReader } from '../arithmetic/chunkedGroup.js';
import { roundings } from '../arithmetic/rounding.js';
import type { MergeArithmetic } from '../contract/mergeMethod.js';
import type { TensorSource } from '../contract/tensorTask.js';
import type { FloatFiles } from './fileElements.js';

type Rows = Extract<TensorSource, { kind: 'rows' }>;
type Adapted = Extract<TensorSource, { kind: 'adapted' }>;

/**
 * What an input of a task is read with.
 *
 * @param delta of an adapter, whole: what an `adapted` source adds
 */
export function sourceElements(
  source: TensorSource,
  files: FloatFiles,
  delta: Float32Array | null,
): ElementReader {
  if (source.kind === 'file') return files.reader(source.tensor);
  if (source.kind === 'rows') return rowElements(source, files);
  return adaptedElements(source, files, delta);
}

/** With arithmetic of 16 bits inputs are rounded to it first, as mergekit converts them. */
export function readAs(
  arithmetic: MergeArithmetic['dtype'],
  source: TensorSource,
  reader: ElementReader,
): ElementReader {
  const stored = { float32: null, bfloat16: 'BF16', float16: 'F16' }[arithmetic];
  if (stored === null || (source.kind === 'file' && source.tensor.dtype === stored)) return reader;
  const round = roundings[arithmetic];
  return {
    read(start, into) {
      reader.read(start, into);
      for (let i = 0; i < into.length; i++) into[i] = round(into[i]!);
    },
  };
}

/**
 * Rows in another order: those that follow one another in the file are read at once. Rows of the
 * padding are the mean of all others, which takes a pass over them when the first one is asked for.
 */
function rowElements({ tensor, rows, fills }: Rows, files: FloatFiles): ElementReader {
  const columns = tensor.shape.slice(1).reduce((a, b) => a * b, 1);
  const stored = files.reader(tensor);
  const made = fills.map(({ from }) =>
    from.map(({ source, row }) => ({ reader: files.reader(source), row })),
  );
  let other = new Float32Array(0);
  /** Elements of the row from `column` on: the mean of some rows, added up in float32. */
  const fill = (index: number, column: number, into: Float32Array) => {
    const from = made[index]!;
    into.fill(0);
    if (other.length < into.length) other = new Float32Array(into.length);
    const one = other.subarray(0, into.length);
    for (const { reader, row } of from) {
      reader.read(row * columns + column, one);
      for (let i = 0; i < into.length; i++) into[i] = into[i]! + one[i]!;
    }
    if (from.length > 1) for (let i = 0; i < into.length; i++) into[i] = into[i]! / from.length;
  };
  let padding: Float32Array | null = null;
  const meanRow = (): Float32Array => {
    const sums = new Float64Array(columns);
    const row = new Float32Array(columns);
    for (let id = 0; id < rows.length; id++) {
      read(id * columns, row);
      for (let j = 0; j < columns; j++) sums[j] = sums[j]! + row[j]!;
    }
    return Float32Array.from(sums, (sum) => sum / rows.length);
  };
  function read(start: number, into: Float32Array): void {
    for (let done = 0; done < into.length; ) {
      const at = start + done;
      const row = Math.floor(at / columns);
      const column = at - row * columns;
      const source = rows[row];
      let end = Math.min(into.length, done + columns - column);
      if (source === undefined) {
        padding ??= meanRow();
        into.set(padding.subarray(column, column + end - done), done);
      } else if (source < 0) fill(-1 - source, column, into.subarray(done, end));
      else {
        for (let next = row + 1; end < into.length && rows[next] === source + next - row; next++)
          end = Math.min(into.length, end + columns);
        stored.read(source * columns + column, into.subarray(done, end));
      }
      done = end;
    }
  }
  return { read };
}

/** W + delta in float32, rounded where the base is of 16 bits. */
function adaptedElements(
  { tensor, adapter, name, round }: Adapted,
  files: FloatFiles,
  delta: Float32Array | null,
): ElementReader {
  const length = tensor.shape.reduce((a, b) => a * b, 1);
  // Where the first rows of an embedding are taken, it changes all of them.
  if (!delta || delta.length < length)
    throw new AttuneError(
      'MERGE_ADAPTER',
      `${adapter} changes ${delta?.length ?? 'no'} numbers of "${name}", which has ${length}.`,
      { remedy: 'Give the base that the adapter was trained on.' },
    );
  const stored = files.reader(tensor);
  const rounded = round && roundings[round];
  return {
    read(start, into) {
      stored.read(start, into);
      for (let i = 0; i < into.length; i++) into[i] = into[i]! + delta[start + i]!;
      if (rounded) for (let i = 0; i < into.length; i++) into[i] = rounded(into[i]!);
    },
  };
}
