import { type Budget, typeError } from './errors.js';
import { order } from './operators.js';
import { showFloat } from './show.js';
import { Dict, isList, plain, Tuple, typeName, type Value } from './values.js';

export interface DumpOptions {
  readonly asciiOnly: boolean;
  /** Text of one level of indentation; null: all in one line. */
  readonly indent: string | null;
  readonly separators: readonly [item: string, key: string];
  readonly sortKeys: boolean;
}

/** Python's json.dumps. @throws TypeError for values that JSON has not */
export function dumpJson(value: Value, options: DumpOptions, budget: Budget): string {
  return dump(value, options, '', budget);
}

function dump(given: Value, options: DumpOptions, margin: string, budget: Budget): string {
  const value = plain(given);
  if (typeof value === 'string') {
    budget.spendText(value.length);
    return dumpText(value, options.asciiOnly);
  }
  budget.spend(2);
  if (value === null) return 'null';
  if (typeof value === 'boolean' || typeof value === 'bigint') return String(value);
  if (typeof value === 'number') return dumpFloat(value);
  const { indent, separators } = options;
  const inner = indent === null ? '' : margin + indent;
  const wrap = (open: string, parts: readonly string[], close: string) => {
    if (parts.length === 0) return open + close;
    if (indent === null) return open + parts.join(separators[0]) + close;
    return `${open}\n${inner}${parts.join(`${separators[0]}\n${inner}`)}\n${margin}${close}`;
  };
  if (isList(value) || value instanceof Tuple) {
    const items = isList(value) ? value : value.items;
    return wrap(
      '[',
      items.map((item) => dump(item, options, inner, budget)),
      ']',
    );
  }
  if (!(value instanceof Dict))
    throw typeError(`Object of type ${typeName(value)} is not JSON serializable`);
  const entries = [...value.entries()];
  if (options.sortKeys) entries.sort(([a], [b]) => order(a, b, budget));
  const pairs = entries.map(
    ([key, item]) =>
      `${dumpText(keyText(key), options.asciiOnly)}${separators[1]}${dump(item, options, inner, budget)}`,
  );
  return wrap('{', pairs, '}');
}

const dumpFloat = (value: number): string =>
  Number.isFinite(value)
    ? showFloat(value)
    : Number.isNaN(value)
      ? 'NaN'
      : value > 0
        ? 'Infinity'
        : '-Infinity';

function keyText(key: Value): string {
  if (typeof key === 'string') return key;
  if (key === null) return 'null';
  if (typeof key === 'number') return dumpFloat(key);
  if (typeof key === 'boolean' || typeof key === 'bigint') return String(key);
  throw typeError(`keys must be str, int, float, bool or None, not ${typeName(key)}`);
}

function dumpText(text: string, asciiOnly: boolean): string {
  // JSON.stringify also escapes lone surrogates, which no text from UTF-8 has.
  const quoted = JSON.stringify(text);
  if (!asciiOnly) return quoted;
  return quoted.replace(/[\x7f-\uffff]/g, (unit) =>
    unit === '\x7f' ? unit : `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
