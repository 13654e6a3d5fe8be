import type { OptionsInput } from '@attune/core/util';
import { z } from 'zod';
import { FORMATS } from './detect.js';

/** Bytes of the longest row that is read: 16 MiB of text are beyond any context. */
export const MAX_ROW_BYTES = 2 ** 24;

/** Node holds no longer text. */
const LONGEST_TEXT = 2 ** 29 - 25;

/** What every reader of text takes. */
export const textShape = {
  /**
   * How bytes are text: any name that TextDecoder knows ("latin1", "windows-1252", "shift_jis").
   * Default: UTF-8, or UTF-16 where the file says so (a byte order mark, or every other byte zero).
   */
  encoding: z.string().optional().meta({ aka: 'charset' }),
  /**
   * Bytes of the longest row that is read; a longer one is a problem in its place. Default 2^24 (16
   * MiB), at most 2^29 - 25, the longest text that Node holds.
   */
  maxRowBytes: z
    .int()
    .min(1)
    .max(LONGEST_TEXT)
    .default(MAX_ROW_BYTES)
    .meta({ aka: 'maxlinelength maxlinebytes maxrecordsize blocksize chunksize' }),
};

/** What readers of JSON take beside. */
export const jsonShape = {
  ...textShape,
  /**
   * A key twice in one object: "refuse" makes a problem of the row, "last" takes the later value as
   * JSON.parse and Python do. Default "refuse".
   */
  duplicateKeys: z.enum(['refuse', 'last']).default('refuse'),
  /**
   * NaN and Infinity, which Python writes and JSON has not: "refuse" makes a problem of the row,
   * "null" reads null. Default "refuse".
   */
  nonFinite: z.enum(['refuse', 'null']).default('refuse').meta({ aka: 'nan allownan' }),
};

/** Options of {@link fromJsonl} and {@link fromJson}. */
export type ReadJsonOptions = OptionsInput<typeof jsonShape>;

/** How JSON is read, completed. */
export type JsonRules = z.output<z.ZodObject<typeof jsonShape>>;

const ONE_CHARACTER = 'expected one character';

/** What readers of CSV take beside those of text. */
export const csvShape = {
  ...textShape,
  /**
   * Between cells. Default: the one of `,` tab `;` `|` that the first line has most of; a tab in
   * .tsv files.
   */
  delimiter: z.string().length(1, ONE_CHARACTER).optional().meta({ aka: 'sep separator' }),
  /**
   * Around cells that hold delimiters, line ends or (twice) itself; false: none does. Default `"`,
   * and false in .tsv files, whose cells hold no tabs and may hold quotation marks.
   */
  quote: z
    .union([z.string().length(1, ONE_CHARACTER), z.literal(false)])
    .optional()
    .meta({ aka: 'quotechar quoting' }),
  /**
   * true: the first line names the columns. false: there is none, and columns are "column_1",
   * "column_2", ... A list: there is none, and these are the names. Default true.
   */
  header: z
    .union([z.boolean(), z.array(z.string()).min(1)])
    .default(true)
    .meta({ aka: 'columns columnnames names' }),
};

/** Options of {@link fromCsv} and {@link fromTsv}. */
export type ReadCsvOptions = OptionsInput<typeof csvShape>;

/** How CSV is read, completed. */
export type CsvRules = z.output<z.ZodObject<typeof csvShape>>;

/** What readers of plain text take beside. */
export const plainTextShape = {
  ...textShape,
  /**
   * What a row is: each line, each paragraph (between blank lines), or the whole file. Default
   * "line", as in Hugging Face datasets.
   */
  sampleBy: z.enum(['line', 'paragraph', 'document']).default('line').meta({ aka: 'per split' }),
};

/** Options of {@link fromText}. */
export type ReadTextOptions = OptionsInput<typeof plainTextShape>;

/** How plain text is read, completed. */
export type TextRules = z.output<z.ZodObject<typeof plainTextShape>>;

/** What readers of tables take: Parquet and Arrow. */
export const tableShape = {
  /** Columns that are read. Default: all of them. */
  columns: z.array(z.string()).min(1).optional().meta({ aka: 'usecols' }),
  /**
   * Bytes that are no text, in columns of bytes: "refuse" makes a problem of the row, "base64"
   * reads them as text in base64. Default "refuse".
   */
  binary: z.enum(['refuse', 'base64']).default('refuse'),
};

/** Options of {@link fromParquet} and {@link fromArrow}. */
export type ReadTableOptions = OptionsInput<typeof tableShape>;

/** How tables are read, completed. */
export type TableRules = z.output<z.ZodObject<typeof tableShape>>;

const readShape = {
  ...jsonShape,
  ...csvShape,
  ...plainTextShape,
  ...tableShape,
  /** Default: what the bytes of the file say, else its name. */
  format: z.enum(FORMATS).optional().meta({ aka: 'type filetype' }),
};
export const readOptions = z.strictObject(readShape);

/** Options of {@link readRows} and {@link fromFiles}: those of every format. */
export type ReadRowsOptions = OptionsInput<typeof readShape>;

/** How a file of any format is read, completed. */
export type ReadRules = z.output<typeof readOptions>;
