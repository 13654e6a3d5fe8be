import { parseOptions } from '@attune/core/util';
import { z } from 'zod';
import { type DataRow, isProblem, type RowProblem } from '../contract/dataRow.js';
import { normalizeText } from '../dedup/normalizeText.js';
import { schemaOf } from '../schemas/detectSchema.js';
import type { SchemaName } from '../schemas/rowSchemas.js';
import { rowText } from '../schemas/rowText.js';
import type { ReadRowsOptions } from '../sources/options.js';
import { readRows } from '../sources/readRows.js';
import { HashNumbers, hash64 } from '../split/hash64.js';
import { type ColumnSummary, ColumnTally } from './columnTally.js';
import { type FileFormat, formatOfFile } from './fileFormat.js';
import { LanguageSample } from './languageSample.js';
import { type LengthSummary, LengthTally } from './lengthTally.js';

/** How {@link inspectFile} looks at a file. */
export interface InspectFileOptions {
  /** Rows that are shown. Default 3. */
  readonly rows?: number;
  /** Tokens of a text: of the tokenizer that will read it. Default: tokens are not counted. */
  readonly countTokens?: (text: string) => number;
  /** How the file is read. */
  readonly read?: ReadRowsOptions;
  /** Told of the rows so far, every 10,000. */
  readonly onProgress?: (rows: number) => void;
}

const isFunction = (value: unknown): boolean => typeof value === 'function';
const inspectOptions = z.strictObject({
  rows: z.int().min(0).default(3),
  countTokens: z.custom(isFunction, 'expected a function').optional(),
  // `readRows` looks at it.
  read: z.looseObject({}).optional(),
  onProgress: z.custom(isFunction, 'expected a function').optional(),
});

/** What is in a file of rows. */
export interface FileInspection {
  readonly file: string;
  readonly format: FileFormat;
  readonly rows: number;
  /** Places without a row. */
  readonly problems: number;
  /** The first of them. */
  readonly firstProblems: readonly RowProblem[];
  readonly columns: readonly ColumnSummary[];
  /** Whether there are more columns than the 200 that are counted. */
  readonly hasMoreColumns: boolean;
  /** Rows of each known format; "none" are in no known one. */
  readonly schemas: Readonly<Partial<Record<SchemaName | 'none', number>>>;
  /** Languages by ISO 639-1 code, of up to 4,096 rows at equal distances; "und": not known. */
  readonly languages: Readonly<Record<string, number>>;
  /** Characters of the text of a row: prompts and answers together. */
  readonly characters: LengthSummary | null;
  /** Tokens of it; null: no tokenizer was given. */
  readonly tokens: LengthSummary | null;
  /** Rows whose text an earlier row has: but for case, white space and width of letters. */
  readonly duplicates: number;
  /** Rows without any text. */
  readonly withoutText: number;
  readonly firstRows: readonly DataRow[];
}

const PROBLEMS_SHOWN = 10;
const PROGRESS_ROWS = 10_000;

/**
 * Looks at a file of rows in any format that `readRows` reads: once, row by row. Memory holds about
 * 30 bytes for each row.
 *
 * @throws DATA_FILE, DATA_FORMAT
 * @example console.log((await inspectFile('train.jsonl')).schemas);
 */
export async function inspectFile(
  file: string,
  options: InspectFileOptions = {},
): Promise<FileInspection> {
  const { countTokens, read, onProgress } = options;
  const { rows: shown } = parseOptions(inspectOptions, options, { where: 'inspectFile' });
  const format = await formatOfFile(file, read);
  const columns = new ColumnTally();
  const characters = new LengthTally();
  const tokens = new LengthTally();
  const languages = new LanguageSample();
  const texts = new HashNumbers();
  const schemas = new Map<SchemaName | 'none', number>();
  const firstProblems: RowProblem[] = [];
  const firstRows: DataRow[] = [];
  let [rows, problems, duplicates, withoutText] = [0, 0, 0, 0];
  for await (const item of readRows(file, read)) {
    if (isProblem(item)) {
      problems++;
      if (firstProblems.length < PROBLEMS_SHOWN) firstProblems.push(item);
      continue;
    }
    rows++;
    if (rows % PROGRESS_ROWS === 0) onProgress?.(rows);
    if (firstRows.length < shown) firstRows.push(item);
    columns.add(item.row);
    count(schemas, schemaOf(item.row) ?? 'none');
    const text = rowText(item.row);
    characters.add(text.length);
    if (countTokens) tokens.add(countTokens(text));
    languages.add(text);
    if (text === '') withoutText++;
    else if (isKnown(texts, text)) duplicates++;
  }
  return {
    file,
    format,
    rows,
    problems,
    firstProblems,
    columns: columns.summary(),
    hasMoreColumns: columns.isFull,
    schemas: Object.fromEntries([...schemas].sort((a, b) => b[1] - a[1])),
    languages: languages.summary(),
    characters: characters.summary(),
    tokens: tokens.summary(),
    duplicates,
    withoutText,
    firstRows,
  };
}

const ALL_IGNORED = { ignoreCase: true, ignoreSpace: true, ignoreWidth: true };

/** Whether a text was seen before; it is from now on. */
function isKnown(texts: HashNumbers, text: string): boolean {
  const before = texts.length;
  texts.add(hash64(normalizeText(text, ALL_IGNORED)));
  return texts.length === before;
}

function count<K>(counts: Map<K, number>, key: K): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
