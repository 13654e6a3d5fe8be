import { isUtf8 } from 'node:buffer';
import type { ReadRow } from '../contract/dataRow.js';
import { BrokenBytes } from './bytes.js';
import type { Cut } from './jsonCut.js';
import { JsonCutter } from './jsonCutter.js';
import type { JsonRules } from './options.js';
import { NoRow, parseRow } from './parseRow.js';
import { cutOff, notText, type Places, tooLong } from './places.js';
import type { Utf8Text } from './transcode.js';

/**
 * Rows of JSON that is no line each: an array of objects, or objects that go over several lines,
 * one behind the other. A comma that is missing or one too many at the end of an array loses
 * nothing, and is no problem.
 */
export async function* readJsonDocuments(
  { chunks, encoding }: Utf8Text,
  places: Places,
  rules: JsonRules,
): AsyncGenerator<ReadRow[]> {
  const cutter = new JsonCutter(rules.maxRowBytes);
  const read = (cuts: Iterable<Cut>): ReadRow[] =>
    Array.from(cuts, (cut) => readCut(cut, encoding, places, rules));
  let broken: string | null = null;
  try {
    for await (const chunk of chunks) yield read(cutter.push(chunk));
  } catch (error) {
    if (!(error instanceof BrokenBytes)) throw error;
    broken = cutOff(error.message);
  }
  yield read(cutter.end(broken));
}

function readCut(cut: Cut, encoding: string, places: Places, rules: JsonRules): ReadRow {
  const { bytes, line, fault } = cut;
  if (fault !== null)
    return places.problem(fault, line, bytes.length > 0 ? bytes.toString().trim() : undefined);
  if (cut.tooLong > 0)
    return places.problem(tooLong(cut.tooLong, rules.maxRowBytes), line, bytes.toString());
  if (!isUtf8(bytes))
    return places.problem(notText(bytes, cut.offset, encoding), line, bytes.toString());
  const text = bytes.toString();
  const row = parseRow(text, rules);
  return row instanceof NoRow ? places.problem(row.problem, line, text) : places.row(row, line);
}

/**
 * Whether a JSON file is no JSON Lines, by its beginning: an array, or an object that is not closed
 * on its first line while the next does not begin another.
 */
export function isDocument(head: string): boolean {
  const text = head.replace(/^\ufeff/, '').trimStart();
  if (text.startsWith('[')) return true;
  if (!text.startsWith('{')) return false;
  const [first = '', ...others] = text.split(/\r\n|\n|\r/);
  const next = others.find((line) => line.trim() !== '');
  return next !== undefined && !next.startsWith('{') && opensMore(first);
}

/** Whether brackets are open at the end of a line, and no text is. */
function opensMore(line: string): boolean {
  const outside = line.replace(/"(?:[^"\\]|\\.)*"/g, '');
  const opened = outside.match(/[[{]/g)?.length ?? 0;
  const closed = outside.match(/[\]}]/g)?.length ?? 0;
  return !outside.includes('"') && opened > closed;
}
