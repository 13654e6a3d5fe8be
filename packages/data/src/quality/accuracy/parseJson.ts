import { type CodeProblem, isPartialAt, placeOf } from './codeProblem.js';
import { type JsonExtra, scanJson } from './scanJson.js';

/** What a block may have beside JSON, by what it claims to be. */
const ALLOWED: Readonly<Record<string, readonly JsonExtra[]>> = {
  json: [],
  jsonc: ['comment', 'trailing comma'],
  json5: ['comment', 'trailing comma', 'single quotes', 'bare key', 'bare word'],
  jsonl: [],
};

/** A request or an answer of a server, shown with its head. */
const HTTP = /^\s*(?:HTTP\/[\d.]+ \d|(?:GET|POST|PUT|PATCH|DELETE|HEAD|OPTIONS) \S)/;

/** What is wrong with JSON, JSON with comments, JSON5 or JSON lines. null: nothing. */
export function jsonProblem(
  code: string,
  claim: 'json' | 'jsonc' | 'json5' | 'jsonl',
): CodeProblem | null {
  if (HTTP.test(code)) return null;
  const scan = scanJson(code, claim === 'json5');
  // Pairs without the object around them are a common excerpt.
  const isExcerpt = scan.errorAt !== null && /^\s*"[^"\n]*"\s*:/.test(code);
  const { errorAt, extras } = isExcerpt ? scanJson(`{${code}\n}`, claim === 'json5') : scan;
  if (extras.has('ellipsis')) return null;
  if (errorAt !== null) {
    const at = Math.min(code.length, isExcerpt ? Math.max(0, errorAt - 1) : errorAt);
    const rest = code.slice(at, at + 20).split('\n')[0]!;
    const place = placeOf(code, at);
    if (isPartialAt(code, place.line)) return null;
    const message = at >= code.trimEnd().length ? 'it ends too early' : `unexpected "${rest}"`;
    return { message, ...place };
  }
  const extra = [...extras].find((one) => !ALLOWED[claim]!.includes(one));
  if (extra === undefined) return null;
  return { message: `JSON has no ${extra}`, line: 1, column: 1, isRelative: true };
}
