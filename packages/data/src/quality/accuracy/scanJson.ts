/** What JSON has not, and its relatives have. */
export type JsonExtra =
  | 'comment'
  | 'trailing comma'
  | 'single quotes'
  | 'bare key'
  | 'ellipsis'
  | 'bare word';

/** What a scan of JSON found. */
export interface JsonScan {
  /** Where it is no JSON, nor one of its relatives. null: it is. */
  readonly errorAt: number | null;
  /** What makes it a relative. */
  readonly extras: ReadonlySet<JsonExtra>;
}

/** What may come next. */
type Want =
  | 'value'
  | 'pairValue'
  | 'valueOrClose'
  | 'keyOrClose'
  | 'key'
  | 'colon'
  | 'commaOrClose';

/** A token of JSON or of its relatives: a string, a number or word, or a sign. */
const TOKEN =
  /"(?:[^"\\\n]|\\(?:\r\n|[\s\S]))*"|'(?:[^'\\\n]|\\(?:\r\n|[\s\S]))*'|[\p{L}\p{M}\p{N}_$+.-]+|[{}[\],:]|…/uy;
const SPACE = /[\s\ufeff]+/y;
const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;
const NUMBER5 =
  /^[+-]?(?:0[xX][\da-fA-F]+|Infinity|NaN|(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)$/;
/** What a sketch of JSON has for a value. */
const TYPES = /^(?:string|number|integer|boolean|object|array|any|str|int|float|bool|date)$/;
const ESCAPES = /^"(?:[^\\\t\r]|\\(?:["\\/bfnrt]|u[\da-fA-F]{4}))*"$/;

/**
 * Reads one or several values of JSON, and notes what only JSON5, JSON with comments or a sketch
 * ("...") would have. Nothing is built, and no depth is too deep.
 *
 * @param isLoose whether strings have the escapes of JSON5: any, and ends of lines
 */
export function scanJson(text: string, isLoose = false): JsonScan {
  const extras = new Set<JsonExtra>();
  const open: string[] = [];
  let want: Want = 'value';
  let at = 0;
  const found = (errorAt: number | null): JsonScan => ({ errorAt, extras });
  for (;;) {
    at = skipSpace(text, at, extras);
    if (at >= text.length) break;
    TOKEN.lastIndex = at;
    const token = TOKEN.exec(text)?.[0];
    if (token === undefined) return found(at);
    const isString = token[0] === '"';
    if (isString && !isLoose && !ESCAPES.test(token)) return found(at);
    const next = step(token, want, open, extras);
    if (next === null) return found(at);
    want = next;
    at += token.length;
  }
  return found(
    open.length === 0 && (want === 'value' || want === 'commaOrClose') ? null : text.length,
  );
}

function skipSpace(text: string, from: number, extras: Set<JsonExtra>): number {
  let at = from;
  for (;;) {
    SPACE.lastIndex = at;
    if (SPACE.test(text)) at = SPACE.lastIndex;
    if (text[at] === '#' || text.startsWith('//', at)) {
      const end = text.indexOf('\n', at);
      at = end < 0 ? text.length : end + 1;
    } else if (text.startsWith('/*', at)) {
      const end = text.indexOf('*/', at + 2);
      if (end < 0) return at;
      at = end + 2;
    } else return at;
    extras.add('comment');
  }
}

/** What is wanted after a token; null: the token is not wanted. */
function step(token: string, want: Want, open: string[], extras: Set<JsonExtra>): Want | null {
  const wantsClose = want === 'valueOrClose' || want === 'keyOrClose' || want === 'commaOrClose';
  if (token === '...' || token === '…') {
    extras.add('ellipsis');
    // "..." stands for items, pairs or a value.
    return open.length === 0 && want !== 'value' ? null : 'commaOrClose';
  }
  if (token === '}' || token === ']') {
    if (open.at(-1) !== (token === '}' ? '{' : '[')) return null;
    if (!wantsClose && want !== 'key' && want !== 'value') return null;
    if (want === 'key' || want === 'value') extras.add('trailing comma');
    open.pop();
    return 'commaOrClose';
  }
  if (token === ',') {
    if (want !== 'commaOrClose' || open.length === 0) return null;
    return open.at(-1) === '{' ? 'key' : 'value';
  }
  if (token === ':') return want === 'colon' ? 'pairValue' : null;
  // A value begins, or at the top level the next one.
  if (want === 'colon') return null;
  if (want === 'commaOrClose' && open.length > 0)
    return extras.has('ellipsis') ? 'commaOrClose' : null;
  if (token === '{' || token === '[') {
    if (want === 'key' || want === 'keyOrClose') return null;
    open.push(token);
    return token === '{' ? 'keyOrClose' : 'valueOrClose';
  }
  const isKey = want === 'key' || want === 'keyOrClose';
  if (!isScalar(token, isKey, extras)) return null;
  return isKey ? 'colon' : 'commaOrClose';
}

function isScalar(token: string, isKey: boolean, extras: Set<JsonExtra>): boolean {
  if (token[0] === '"') return true;
  if (token[0] === "'") {
    extras.add('single quotes');
    return true;
  }
  if (isKey) {
    extras.add('bare key');
    return /^[\p{L}_$][\p{L}\p{M}\p{N}_$-]*$/u.test(token);
  }
  if (token === 'true' || token === 'false' || token === 'null' || NUMBER.test(token)) return true;
  if (TYPES.test(token)) {
    extras.add('ellipsis');
    return true;
  }
  if (!NUMBER5.test(token)) return false;
  extras.add('bare word');
  return true;
}
