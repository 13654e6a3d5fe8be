import { utf8Bytes } from '../util/byteArrays.js';
import { AttuneError } from '../util/errors.js';
import { type Line, Pieces } from './readLines.js';

const [NEWLINE, SPACE, TAB, RETURN, QUOTE, BACKSLASH, COMMA] = utf8Bytes('\n \t\r"\\,');
const [OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = utf8Bytes('[]{}');

/** What may come next between items. */
type Expected = 'array' | 'first' | 'item' | 'nothing';

const words: Readonly<Record<Expected, string>> = {
  array: '"["',
  first: 'a row or "]"',
  item: 'a row',
  nothing: 'nothing more',
};

/**
 * The items of one JSON array, each as its text and the line where it begins, without ever holding
 * the array: it may be larger than the longest text. Items are cut out by counting brackets outside
 * of strings; whether they are JSON is for the caller to see.
 *
 * @throws DATASET_JSON where commas or brackets are wrong or the array does not end;
 *   DATASET_ENCODING, DATASET_LINE_LENGTH
 */
export async function* splitArray(
  chunks: AsyncIterable<Uint8Array>,
  path: string,
): AsyncGenerator<Line> {
  const item = new Pieces(path);
  let expected: Expected = 'array';
  let line = 1;
  let begun = 1;
  let depth = 0;
  let inItem = false;
  let inString = false;
  let escaped = false;
  for await (const chunk of chunks) {
    let begin = 0;
    for (let at = 0; at < chunk.length; at++) {
      const byte = chunk[at]!;
      if (byte === NEWLINE) line++;
      if (inString) {
        if (escaped) escaped = false;
        else if (byte === BACKSLASH) escaped = true;
        else if (byte === QUOTE) inString = false;
        continue;
      }
      if (inItem) {
        if (byte === QUOTE) inString = true;
        else if (byte === OPEN_LIST || byte === OPEN_OBJECT) depth++;
        else if ((byte === CLOSE_LIST || byte === CLOSE_OBJECT) && depth > 0) depth--;
        else if (depth > 0 || (byte !== COMMA && byte !== CLOSE_LIST)) continue;
        else {
          item.add(chunk.subarray(begin, at), begun);
          yield { text: item.take(begun), number: begun };
          inItem = false;
          expected = byte === COMMA ? 'item' : 'nothing';
        }
        continue;
      }
      if (byte === SPACE || byte === NEWLINE || byte === TAB || byte === RETURN) continue;
      if (expected === 'array' && byte === OPEN_LIST) expected = 'first';
      else if (expected === 'first' && byte === CLOSE_LIST) expected = 'nothing';
      else if (expected === 'nothing' || byte === COMMA || byte === CLOSE_LIST)
        throw wrong(
          path,
          line,
          `${JSON.stringify(String.fromCharCode(byte))} where ${words[expected]} should be`,
        );
      else {
        inItem = true;
        begun = line;
        begin = at;
        at--; // looked at again, as the item's first
      }
    }
    if (inItem) item.add(chunk.subarray(begin), begun);
  }
  if (expected === 'nothing' && !inItem) return;
  throw wrong(
    path,
    line,
    inItem
      ? `the file ends within the row that begins in line ${begun}`
      : `the file ends where ${words[expected]} should be`,
  );
}

const wrong = (path: string, line: number, problem: string): AttuneError =>
  new AttuneError('DATASET_JSON', `${path}:${line}: not a JSON array: ${problem}.`, {
    remedy: 'The file begins with "[", so it must be one array of objects.',
  });
