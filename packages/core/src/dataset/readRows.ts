import { createReadStream } from 'node:fs';
import { AttuneError } from '../util/errors.js';
import type { Row } from './dataset.js';

/** A row and where in its file it is: ":12", a line from 1 on, or "[3]", a place in an array from 0 on. */
export interface PlacedRow {
  readonly row: Row;
  readonly place: string;
}

/**
 * Rows of a JSON file: one object on each line (JSON Lines), or one array of objects. Blank lines
 * are skipped; a byte order mark and Windows line ends are fine.
 *
 * @param lines line by line: an array, which is only understood whole, is refused
 * @throws DATASET_FILE, DATASET_JSON, DATASET_EMPTY, DATASET_STREAM, each naming the file and the line
 */
export async function* readJsonRows(file: string, lines = false): AsyncGenerator<PlacedRow> {
  const arrayLines: string[] = [];
  let isArray: boolean | undefined;
  let number = 0;
  let count = 0;
  for await (const line of readLines(file)) {
    number++;
    isArray ??= line.trim() === '' ? undefined : line.trimStart().startsWith('[');
    if (isArray && lines)
      throw new AttuneError(
        'DATASET_STREAM',
        `${file} is one JSON array, which cannot be read row by row.`,
        { remedy: 'Write one object on each line (JSON Lines), or leave streaming out.' },
      );
    if (isArray) arrayLines.push(line);
    else if (line.trim() !== '') {
      count++;
      yield { row: parseRow(line, file, number), place: `:${number}` };
    }
  }
  if (isArray)
    for (const placed of parseArray(arrayLines.join('\n'), file)) {
      count++;
      yield placed;
    }
  if (count === 0)
    throw new AttuneError('DATASET_EMPTY', `${file} has no rows.`, {
      remedy: 'Give a file with one JSON object on each line, or with an array of them.',
    });
}

/** Each line of a text file as `{ text }`; blank ones are skipped. @throws DATASET_FILE, DATASET_EMPTY */
export async function* readTextRows(file: string): AsyncGenerator<PlacedRow> {
  let number = 0;
  let count = 0;
  for await (const line of readLines(file)) {
    number++;
    if (line.trim() === '') continue;
    count++;
    yield { row: { text: line }, place: `:${number}` };
  }
  if (count === 0)
    throw new AttuneError('DATASET_EMPTY', `${file} has no lines.`, {
      remedy: 'Give a file with one text on each line.',
    });
}

/** Only \n ends a line: U+2028 may stand inside of a JSON string, so node:readline will not do. */
async function* readLines(file: string): AsyncGenerator<string> {
  let rest = '';
  let first = true;
  try {
    for await (const chunk of createReadStream(file, { encoding: 'utf8' })) {
      const text: string = first ? (chunk as string).replace(/^\uFEFF/, '') : (chunk as string);
      first = false;
      const lines = (rest + text).split('\n');
      rest = lines.pop()!;
      for (const line of lines) yield line.endsWith('\r') ? line.slice(0, -1) : line;
    }
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === undefined) throw cause;
    const why =
      code === 'ENOENT' ? 'does not exist' : code === 'EISDIR' ? 'is a folder' : `: ${code}`;
    throw new AttuneError('DATASET_FILE', `data file ${file} ${why}.`, {
      remedy: `Check the path; it is relative to ${process.cwd()}.`,
      cause,
    });
  }
  if (rest !== '') yield rest;
}

function parseRow(line: string, file: string, number: number): Row {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new AttuneError(
      'DATASET_JSON',
      `${file}:${number}: not JSON: ${(cause as Error).message}; the line begins ${JSON.stringify(line.slice(0, 60))}.`,
      { remedy: 'Put one JSON object on each line.', cause },
    );
  }
  return checkRow(value, `${file}:${number}`);
}

function parseArray(text: string, file: string): PlacedRow[] {
  let values: unknown;
  try {
    values = JSON.parse(text);
  } catch (cause) {
    const at = /position (\d+)/.exec((cause as Error).message)?.[1];
    const line = at === undefined ? '' : `:${text.slice(0, Number(at)).split('\n').length}`;
    throw new AttuneError(
      'DATASET_JSON',
      `${file}${line}: not a JSON array: ${(cause as Error).message}.`,
      { remedy: 'The file begins with "[", so it must be one array of objects.', cause },
    );
  }
  return (values as unknown[]).map((value, i) => ({
    row: checkRow(value, `${file}[${i}]`),
    place: `[${i}]`,
  }));
}

function checkRow(value: unknown, where: string): Row {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Row;
  throw new AttuneError(
    'DATASET_JSON',
    `${where}: a row is an object with named fields; this is ${JSON.stringify(value)?.slice(0, 60)}.`,
    { remedy: 'Write e.g. {"prompt": "...", "completion": "..."}.' },
  );
}
