import { AttuneError } from '../util/errors.js';
import { strictJson } from '../util/losslessJson.js';
import { parseRemembering } from '../util/readAs.js';
import type { Row } from './dataset.js';
import type { DatasetReader, PlacedRow } from './datasetReader.js';
import { splitArray } from './jsonArray.js';
import { type Line, readChunks, splitLines } from './readLines.js';

/**
 * Rows of a JSON file: one object on each line (JSON Lines), or one array of objects. Blank lines
 * are skipped; a byte order mark and Windows line ends are fine. One row is in memory at a time.
 *
 * @throws DATASET_FILE, DATASET_ENCODING, DATASET_JSON, DATASET_EMPTY, DATASET_LINE_LENGTH, each
 *   naming the file and the line
 */
export async function* readJsonRows(file: string): AsyncGenerator<PlacedRow> {
  let count = 0;
  if (await isArray(file))
    for await (const item of splitArray(readChunks(file), file)) {
      const place = `[${count++}]`;
      yield { row: parseRow(item, file, place), place };
    }
  else
    for await (const line of splitLines(readChunks(file), file)) {
      if (line.text.trim() === '') continue;
      count++;
      const place = `:${line.number}`;
      yield { row: parseRow(line, file, place), place };
    }
  if (count === 0)
    throw new AttuneError('DATASET_EMPTY', `${file} has no rows.`, {
      remedy: 'Give a file with one JSON object on each line, or with an array of them.',
    });
}

/**
 * Each line of a text file as `{ text }`; blank ones are skipped.
 *
 * @throws DATASET_FILE, DATASET_ENCODING, DATASET_EMPTY, DATASET_LINE_LENGTH
 */
export async function* readTextRows(file: string): AsyncGenerator<PlacedRow> {
  let count = 0;
  for await (const { text, number } of splitLines(readChunks(file), file)) {
    if (text.trim() === '') continue;
    count++;
    yield { row: { text }, place: `:${number}` };
  }
  if (count === 0)
    throw new AttuneError('DATASET_EMPTY', `${file} has no lines.`, {
      remedy: 'Give a file with one text on each line.',
    });
}

/** What core adds to `DatasetReaders`. */
export const builtinReaders: readonly DatasetReader[] = [
  { name: 'json', extensions: ['.jsonl', '.json', '.ndjson'], read: readJsonRows },
  { name: 'text', extensions: ['.txt'], read: readTextRows },
];

/** Whether the first character that is no white space is "[". */
async function isArray(file: string): Promise<boolean> {
  for await (const chunk of readChunks(file)) {
    const first = chunk.find((byte) => !(byte === 0x20 || (byte >= 0x09 && byte <= 0x0d)));
    if (first !== undefined) return first === 0x5b;
  }
  return false;
}

function parseRow({ text, number }: Line, file: string, place: string): Row {
  let value: unknown;
  try {
    value = parseRemembering(text, strictJson);
  } catch (cause) {
    const { message } = cause as Error;
    // Its lines count from where the row begins.
    const [, problem = message, line = '1', column = '1'] =
      /^(.*), at line (\d+), column (\d+)$/s.exec(message) ?? [];
    throw new AttuneError(
      'DATASET_JSON',
      `${file}:${number + Number(line) - 1}: not JSON: ${problem}, at column ${column}; the row begins ${JSON.stringify(text.slice(0, 60))}.`,
      {
        remedy:
          place.startsWith(':') && text.trim() === '{'
            ? 'Put one whole JSON object on each line, or write one array of objects.'
            : 'Put one JSON object on each line.',
        cause,
      },
    );
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Row;
  throw new AttuneError(
    'DATASET_JSON',
    `${file}${place}: a row is an object with named fields; this is ${JSON.stringify(value)?.slice(0, 60)}.`,
    { remedy: 'Write e.g. {"prompt": "...", "completion": "..."}.' },
  );
}
