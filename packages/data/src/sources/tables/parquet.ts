import {
  type FileMetaData,
  parquetMetadataAsync,
  parquetSchema,
  type RowGroup,
  type SchemaElement,
  type SchemaTree,
} from 'hyparquet';
import { assembleNested } from 'hyparquet/src/assemble.js';
import { missingColumns, nameProblems, rowsOf, within } from './columns.js';
import { type BytesOfFile, bytesOfFile } from './fileBytes.js';
import type { TableAnswer, TableJob } from './messages.js';
import { ParquetColumn } from './parquetColumn.js';
import { parsers } from './parquetValues.js';
import type { Patience } from './patience.js';
import { plainValue } from './plainValue.js';

/** The rows of a Parquet file. */
export async function* parquetRows(job: TableJob, patience: Patience): AsyncGenerator<TableAnswer> {
  const file = bytesOfFile(job.file);
  if (file.byteLength < 12) {
    yield { kind: 'gap', problem: `no Parquet file: it has ${file.byteLength} bytes.`, rows: 1 };
    return;
  }
  let metadata: FileMetaData;
  let columns: readonly SchemaTree[];
  try {
    metadata = await parquetMetadataAsync(file, { geoparquet: false });
    metadata.schema.forEach(nameOldTypes);
    const schema = parquetSchema(metadata);
    columns = schema.children;
    if (columns.length === 0 || schema.count !== metadata.schema.length)
      throw new Error(`${metadata.schema.length} parts of a schema that has ${schema.count}`);
  } catch (error) {
    const why = (error as Error).message;
    yield {
      kind: 'gap',
      problem: `the footer cannot be read (${why}): the file is cut off or damaged.`,
      rows: 1,
    };
    return;
  }
  const names = columns.map(({ element }) => element.name);
  const missing = missingColumns(names, job);
  if (missing) return yield missing;
  yield* nameProblems(names);
  let listed = 0n;
  for (const [number, group] of metadata.row_groups.entries()) {
    listed += BigInt(group.num_rows ?? 0);
    yield* groupRows(new Group(file, metadata, group, job, patience), number);
  }
  if (listed !== BigInt(metadata.num_rows ?? 0))
    yield {
      kind: 'gap',
      problem: `the footer names ${metadata.num_rows} rows, and its row groups have ${listed}.`,
      rows: 1,
    };
}

/** Lists and maps that have only the newer name of their type: the library asks for the older. */
function nameOldTypes(element: SchemaElement): void {
  const { type } = element.logical_type ?? {};
  if (type === 'LIST' || type === 'MAP') element.converted_type ??= type;
}

/** Bytes and rows that are decoded at once. */
const STEP_BYTES = 2 ** 22;
const STEP_ROWS = 4096;

function* groupRows(group: Group, number: number): Generator<TableAnswer> {
  const { count } = group;
  const lost = (error: unknown, from: number): TableAnswer => ({
    kind: 'gap',
    problem: `${Math.max(0, count - from)} rows of row group ${number} cannot be read: ${(error as Error).message}.`,
    rows: Math.max(1, count - from),
  });
  if (!(count >= 0 && count < 2 ** 31)) {
    yield lost(new Error(`the footer says that it has ${count}`), count);
    return;
  }
  if (count === 0) return; // It needs no bytes.
  let done = 0;
  try {
    group.open();
    while (done < count) {
      const rows = Math.min(group.step, count - done);
      const rowAt = group.take(rows);
      done += rows;
      yield* rowsOf(rows, rowAt);
    }
    group.end();
  } catch (error) {
    yield lost(error, done);
  }
}

/** A row group, some rows at a time. */
class Group {
  readonly count: number;
  readonly step: number;
  readonly #columns: { readonly tree: SchemaTree; readonly leaves: readonly Leaf[] }[] = [];

  constructor(
    private readonly file: BytesOfFile,
    private readonly metadata: FileMetaData,
    private readonly group: RowGroup,
    private readonly job: TableJob,
    private readonly patience: Patience,
  ) {
    this.count = Number(group.num_rows);
    const bytes = group.columns.reduce(
      (sum, { meta_data: column }) => sum + Number(column?.total_uncompressed_size ?? 0),
      0,
    );
    const fitting = Math.floor((this.count * STEP_BYTES) / Math.max(bytes, 1));
    this.step = Math.max(1, Math.min(STEP_ROWS, fitting || 0));
  }

  /** @throws where its columns are not those of the schema, or not in the file */
  open(): void {
    const { group, job } = this;
    const root = parquetSchema(this.metadata);
    const leaves = leavesOf(root, []);
    if (leaves.length !== group.columns.length)
      throw new Error(`it has ${group.columns.length} columns, and the schema ${leaves.length}`);
    const seen = new Set<string>();
    for (const tree of root.children) {
      const { name } = tree.element;
      const own = leaves
        .map((path, index) => ({ path, index }))
        .filter(({ path }) => path[1] === tree);
      if (seen.has(name) || name === '__proto__' || job.columns?.includes(name) === false) continue;
      seen.add(name);
      this.#columns.push({ tree, leaves: own.map(({ path, index }) => this.#leaf(path, index)) });
    }
  }

  #leaf(path: SchemaTree[], index: number): Leaf {
    const { file_path: otherFile, meta_data: column } = this.group.columns[index]!;
    const name = path.at(-1)!.path.join('.');
    return within(name, () => {
      if (otherFile) throw new Error(`it is in another file, ${otherFile}`);
      if (column === undefined) throw new Error('it has no metadata, or is encrypted');
      if (column.path_in_schema.join('.') !== name || column.type !== path.at(-1)!.element.type)
        throw new Error(`the schema has another one, ${column.path_in_schema.join('.')}`);
      return { name, path, column: new ParquetColumn(this.file, column, path, this.patience) };
    });
  }

  /** The next rows, by their place among them. @throws */
  take(count: number): (index: number) => Record<string, unknown> {
    const columns = this.#columns.map(({ tree, leaves }) => {
      const taken = new Map<string, unknown[]>();
      for (const { name, column } of leaves)
        taken.set(
          name,
          within(name, () => column.take(count)),
        );
      const { name } = tree.element;
      this.patience.begin(STEP_BYTES, count * leaves.length);
      return within(name, () => {
        leaves.forEach(({ path, name: one }, i) => {
          const depth = i === 0 ? 0 : listDepth(path, leaves[i - 1]!.path);
          if (depth > 0 && !isShapedAs(taken.get(one), taken.get(leaves[i - 1]!.name), depth))
            throw new Error('its lists have parts of different lengths');
        });
        if (tree.children.length > 0) assembleNested(taken as never, tree, parsers);
        const values = taken.get(name);
        if (values?.length !== count) throw new Error('its parts do not fit together');
        return { name, values };
      });
    });
    return (index) => {
      const row: Record<string, unknown> = {};
      for (const { name, values } of columns)
        row[name] = within(name, () => plainValue(values[index], this.job.binary), '.');
      return row;
    };
  }

  /** @throws where columns have more rows than the group */
  end(): void {
    for (const { leaves } of this.#columns)
      for (const { name, column } of leaves) within(name, () => column.end());
  }
}

interface Leaf {
  readonly name: string;
  readonly path: readonly SchemaTree[];
  readonly column: ParquetColumn;
}

/** The columns that hold values, each with all that it is in. */
function leavesOf(tree: SchemaTree, above: readonly SchemaTree[]): SchemaTree[][] {
  const path = [...above, tree];
  return tree.children.length === 0 ? [path] : tree.children.flatMap((one) => leavesOf(one, path));
}

/** How deep in their values the innermost list is that both are in. */
function listDepth(a: readonly SchemaTree[], b: readonly SchemaTree[]): number {
  let [depth, list] = [0, 0];
  for (let i = 1; i < a.length && a[i] === b[i]; i++) {
    const { repetition_type: repetition } = a[i]!.element;
    if (repetition !== 'REQUIRED') depth++;
    if (repetition === 'REPEATED') list = depth;
  }
  return list;
}

/** Whether lists in lists have the same lengths, down to a depth. */
function isShapedAs(a: unknown, b: unknown, depth: number): boolean {
  if (!Array.isArray(a) || !Array.isArray(b)) return Array.isArray(a) === Array.isArray(b);
  return (
    a.length === b.length && (depth === 0 || a.every((one, i) => isShapedAs(one, b[i], depth - 1)))
  );
}
