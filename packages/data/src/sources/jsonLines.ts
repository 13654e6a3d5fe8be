import { isUtf8 } from 'node:buffer';
import type { ReadRow } from '../contract/dataRow.js';
import { type LineBlock, lineBlocks } from './lineBlocks.js';
import type { JsonRules } from './options.js';
import { NoRow, parseRow } from './parseRow.js';
import { cutOff, notText, type Places, tooLong } from './places.js';
import type { Utf8Text } from './transcode.js';

/**
 * Rows of JSON Lines, many at a time. Blank lines are no places; every other line is a row or a
 * problem.
 */
export async function* readJsonLines(
  { chunks, encoding }: Utf8Text,
  places: Places,
  rules: JsonRules,
): AsyncGenerator<ReadRow[]> {
  for await (const block of lineBlocks(chunks, rules.maxRowBytes)) {
    const { bytes, line, broken } = block;
    const reads: ReadRow[] = [];
    if (block.tooLong > 0)
      reads.push(places.problem(tooLong(block.tooLong, rules.maxRowBytes), line, bytes.toString()));
    else if (broken !== null) reads.push(...cutLine(block, broken, places, rules));
    else if (block.isUtf8) {
      // One text for all the lines: JSON.parse copies what it takes from it.
      const text = bytes.toString();
      let number = line;
      for (let begin = 0; begin < text.length; number++) {
        let end = text.indexOf(block.end, begin);
        if (end < 0) end = text.length;
        readLine(text.slice(begin, end), number, places, rules, reads);
        begin = end + 1;
      }
    } else readBytes(block, encoding, places, rules, reads);
    yield reads;
  }
}

function readLine(
  text: string,
  line: number,
  places: Places,
  rules: JsonRules,
  reads: ReadRow[],
): void {
  if (isBlank(text)) return;
  const row = parseRow(text, rules);
  if (!(row instanceof NoRow)) {
    reads.push(places.row(row, line));
    return;
  }
  // Files that were joined have a byte order mark within, or another kind of line end.
  const parts = text
    .replace(/^\ufeff/, '')
    .split('\r')
    .filter((part) => !isBlank(part));
  const inner = parts.map((part) => parseRow(part, rules));
  if (inner.some((part) => !(part instanceof NoRow)))
    for (const [i, part] of inner.entries())
      reads.push(
        part instanceof NoRow
          ? places.problem(part.problem, line, parts[i]!)
          : places.row(part, line),
      );
  else reads.push(places.problem(row.problem, line, text));
}

const isBlank = (text: string): boolean =>
  text.length === 0 || (text.charCodeAt(0) <= 0x20 && text.trim() === '');

/** Lines of which some are no UTF-8. */
function readBytes(
  block: LineBlock,
  encoding: string,
  places: Places,
  rules: JsonRules,
  reads: ReadRow[],
): void {
  const { bytes, end, offset } = block;
  let line = block.line;
  for (let begin = 0; begin < bytes.length; line++) {
    let at = bytes.indexOf(end, begin);
    if (at < 0) at = bytes.length;
    const one = bytes.subarray(begin, at);
    if (isUtf8(one)) readLine(one.toString(), line, places, rules, reads);
    else reads.push(places.problem(notText(one, offset + begin, encoding), line, one.toString()));
    begin = at + 1;
  }
}

/** The last line of a file that ends too early. */
function* cutLine(
  { bytes, line }: LineBlock,
  broken: string,
  places: Places,
  rules: JsonRules,
): Generator<ReadRow> {
  const text = bytes.toString();
  const row = isUtf8(bytes) && !isBlank(text) ? parseRow(text, rules) : null;
  const isRow = row !== null && !(row instanceof NoRow);
  if (isRow) yield places.row(row, line);
  yield places.problem(cutOff(broken), line, isRow || isBlank(text) ? undefined : text);
}
