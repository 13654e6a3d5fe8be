import { type Budget, JinjaError, typeError, valueError } from './errors.js';
import { showNumber } from './formatSpec.js';
import { toFloat, toInt } from './numbers.js';
import { quote, repr, str } from './show.js';
import { letters } from './text.js';
import { Dict, isList, Markup, Range, Tuple, typeName, Undefined, type Value } from './values.js';

const conversion =
  /%(?:\(([^)]{0,200})\))?([-+ #0]*)(\*|\d+)?(?:\.(\*|\d+)?)?[hlL]?([diouxXeEfFgGcrsa%]|$|[\s\S])/gu;

/** Python's `text % values`. */
export function formatPercent(text: string, values: Value, budget: Budget): string {
  const items = values instanceof Tuple ? values.items : [values];
  let used = 0;
  let named = false;
  const next = (): Value => {
    if (used >= items.length) throw typeError('not enough arguments for format string');
    return items[used++]!;
  };
  const count = (given: string | undefined): number => {
    const number = given === '*' ? Number(toInt(next())) : Number(given ?? 0);
    if (number > 1e6) throw valueError('a width that is too large');
    return number;
  };
  const out = text.replace(conversion, (all, key, flags: string, wide, precise, type: string) => {
    if (type === '') throw valueError('incomplete format');
    const width = count(wide as string | undefined);
    const hasPrecision = /\.[\d*]*[hlL]?[^\d*hlL]?$/u.test(all as string) && all.includes('.');
    const precision = hasPrecision ? count(precise as string | undefined) : null;
    if (type === '%') return '%';
    let value: Value;
    if (key !== undefined) {
      if (!(values instanceof Dict)) throw typeError('format requires a mapping');
      const found = values.get(key as string);
      if (found === undefined) throw new JinjaError('KeyError', quote(key as string));
      value = found;
      named = true;
    } else value = next();
    const made = convert(value, type, flags, precision, budget);
    const left = flags.includes('-');
    const zero = flags.includes('0') && !left && /[diouxXeEfFgG]/.test(type);
    const sign = /^[-+ ]/.exec(made)?.[0] ?? '';
    const fill = Math.max(width - letters(made).length, 0);
    budget.spendText(fill + made.length);
    if (zero) return sign + '0'.repeat(fill) + made.slice(sign.length);
    return left ? made + ' '.repeat(fill) : ' '.repeat(fill) + made;
  });
  // A mapping, and what Python takes for one, need not be used up.
  const isMapping = values instanceof Dict || isList(values) || values instanceof Range;
  if (!named && used < items.length && !isMapping && !(values instanceof Undefined))
    throw typeError('not all arguments converted during string formatting');
  return out;
}

function convert(
  value: Value,
  type: string,
  flags: string,
  precision: number | null,
  budget: Budget,
): string {
  const cut = (text: string) =>
    precision === null ? text : letters(text).slice(0, precision).join('');
  if (value instanceof Markup) return convert(value.text, type, flags, precision, budget);
  if (type === 's') return cut(str(value, budget));
  if (type === 'r' || type === 'a') return cut(repr(value, budget));
  if (type === 'c') {
    if (typeof value === 'bigint') return String.fromCodePoint(Number(value));
    if (typeof value === 'string' && letters(value).length === 1) return value;
    throw typeError('%c requires int or char');
  }
  if (typeof value !== 'bigint' && typeof value !== 'number' && typeof value !== 'boolean')
    throw typeError(`%${type} format: a number is required, not ${typeName(value)}`);
  let text: string;
  let negative: boolean;
  if (/[diouxX]/.test(type)) {
    if (typeof value === 'number' && /[oxX]/.test(type))
      throw typeError(`%${type} format: an integer is required, not float`);
    const number = toInt(value);
    negative = number < 0n;
    const base = { o: 8, x: 16, X: 16 }[type as 'o' | 'x'] ?? 10;
    const digits = (negative ? -number : number).toString(base).padStart(precision ?? 0, '0');
    text = (flags.includes('#') && base !== 10 ? `0${type}` : '') + digits;
    if (type === 'X') text = text.toUpperCase();
  } else {
    const number = toFloat(value);
    negative = number < 0 || Object.is(number, -0);
    text = showNumber(number, type.toLowerCase(), precision ?? 6, flags.includes('#'));
    if (/[EFG]/.test(type)) text = text.toUpperCase();
  }
  const sign = negative ? '-' : flags.includes('+') ? '+' : flags.includes(' ') ? ' ' : '';
  return sign + text;
}
