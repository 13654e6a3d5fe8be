import { type Budget, typeError, valueError } from './errors.js';
import { fixed } from './numbers.js';
import { showFloat, str } from './show.js';
import { letters } from './text.js';
import { asNumber, plain, typeName, type Value } from './values.js';

/** A number's letters for one of Python's types e, f, g, %; without a sign. */
export function showNumber(
  value: number,
  type: string,
  precision: number,
  keepZeros: boolean,
): string {
  const size = Math.abs(value);
  if (!Number.isFinite(value)) return Number.isNaN(value) ? 'nan' : 'inf';
  const exponential = (digits: number) =>
    size.toExponential(Math.min(digits, 100)).replace(/e([+-])(\d)$/, 'e$10$2');
  switch (type) {
    case 'e':
      return exponential(precision);
    case 'f':
      return fixed(size, precision);
    case '%':
      return `${fixed(size * 100, precision)}%`;
    default: {
      const digits = Math.max(precision, 1);
      const exponent = size === 0 ? 0 : Number(size.toExponential(digits - 1).split('e')[1]);
      const text =
        exponent < -4 || exponent >= digits
          ? exponential(digits - 1)
          : fixed(size, digits - 1 - exponent);
      return keepZeros ? text : text.replace(/(\.\d*?)0+(?=e|$)/, '$1').replace(/\.(?=e|$)/, '');
    }
  }
}

const grammar =
  /^(?:([\s\S])?([<>=^]))?([-+ ])?(z)?(#)?(0)?(\d+)?([,_])?(?:\.(\d+))?([bcdeEfFgGnosxX%])?$/u;
const bases: Readonly<Record<string, number>> = { b: 2, o: 8, x: 16, X: 16 };

/** format(value, spec): Python's format specification mini-language. */
export function formatValue(given: Value, spec: string, budget: Budget): string {
  const value = plain(given);
  if (spec === '') return str(value, budget);
  const match = grammar.exec(spec);
  if (!match) throw valueError(`invalid format specifier ${JSON.stringify(spec)}`);
  const [, fillGiven, alignGiven, sign = '', , alternate, zero, width, comma, digits, type] = match;
  const precision = digits === undefined ? null : Number(digits);
  if (Number(width ?? 0) > 1e6 || Number(precision) > 1e4) throw valueError('a width too large');
  const isNumber = asNumber(value) !== null;
  let prefix = '';
  let text: string;
  if (isNumber) {
    const number = asNumber(value)!;
    const negative = number < 0 || Object.is(number, -0);
    prefix = negative ? '-' : sign === '-' ? '' : sign;
    text = body(number, type, precision, alternate !== undefined);
    if (/[box]/i.test(type ?? '') && alternate) prefix += `0${type}`;
    if (comma) text = grouped(text, comma);
  } else if (typeof value === 'string') {
    if (type !== undefined && type !== 's')
      throw valueError(`unknown format code '${type}' for object of type '${typeName(value)}'`);
    if (alignGiven === '=')
      throw valueError("'=' alignment not allowed in string format specifier");
    const all = letters(value);
    text = (precision === null ? all : all.slice(0, precision)).join('');
  } else throw typeError(`unsupported format string passed to ${typeName(value)}.__format__`);
  const fill = fillGiven ?? (zero ? '0' : ' ');
  const align = alignGiven ?? (isNumber ? (zero ? '=' : '>') : '<');
  const missing = Math.max(Number(width ?? 0) - letters(prefix + text).length, 0);
  if (align === '=') return prefix + fill.repeat(missing) + text;
  const left = align === '<' ? 0 : align === '>' ? missing : Math.floor(missing / 2);
  return fill.repeat(left) + prefix + text + fill.repeat(missing - left);
}

function body(
  number: bigint | number,
  type: string | undefined,
  precision: number | null,
  keepZeros: boolean,
): string {
  if (typeof number === 'bigint' && /^[dnboxXc]?$/.test(type ?? '')) {
    if (precision !== null) throw valueError('precision not allowed in integer format specifier');
    if (type === 'c') return String.fromCodePoint(Number(number));
    const text = (number < 0n ? -number : number).toString(bases[type ?? ''] ?? 10);
    if (text.length > 4300) throw valueError('an integer of more than 4300 digits is not printed');
    return type === 'X' ? text.toUpperCase() : text;
  }
  if (type !== undefined && /[dboxXcs]/.test(type))
    throw valueError(`unknown format code '${type}' for object of type '${typeName(number)}'`);
  const value = Number(number);
  if (type === undefined && precision === null) return showFloat(Math.abs(value));
  const kind = (type ?? 'g').toLowerCase().replace('n', 'g');
  let text = showNumber(value, kind, precision ?? 6, keepZeros);
  if (type === undefined && /^\d+$/.test(text)) text += '.0';
  return type !== undefined && /[EFG]/.test(type) ? text.toUpperCase() : text;
}

function grouped(text: string, comma: string): string {
  const [whole, ...rest] = text.split(/(?=[.e%])/) as [string, ...string[]];
  return whole.replace(/\B(?=(?:\d{3})+$)/g, comma) + rest.join('');
}
