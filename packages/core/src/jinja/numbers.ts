import { JinjaError, typeError, valueError } from './errors.js';
import { strip } from './text.js';
import { asNumber, typeName, Undefined, type Value } from './values.js';

/** int(value). @throws ValueError, TypeError, OverflowError */
export function toInt(value: Value, base = 10): bigint {
  if (typeof value === 'string') return parseInteger(value, base);
  if (value instanceof Undefined) value.fail();
  const number = asNumber(value);
  if (typeof number === 'bigint') return number;
  if (number === null)
    throw typeError(`int() takes a string or a number, not '${typeName(value)}'`);
  if (Number.isNaN(number)) throw valueError('cannot convert float NaN to integer');
  if (!Number.isFinite(number))
    throw new JinjaError('OverflowError', 'cannot convert float infinity to integer');
  return BigInt(Math.trunc(number));
}

function parseInteger(text: string, base: number): bigint {
  const match = /^([+-]?)(?:0([xXoObB]))?_?((?:[\da-zA-Z]+_)*[\da-zA-Z]+)$/.exec(strip(text, null));
  const prefix = { x: 16, o: 8, b: 2 }[match?.[2]?.toLowerCase() as 'x'];
  const used = base === 0 ? (prefix ?? 10) : base;
  // "0b1" is a number of base 16, too: the prefix counts for its own base alone.
  const digits = (match?.[3] ?? '').replaceAll('_', '');
  const all = prefix !== undefined && prefix !== used ? `0${match![2]}${digits}` : digits;
  if (!match || all.length > 4300) throw invalid(text, base);
  let number = 0n;
  for (const letter of all) {
    const digit = Number.parseInt(letter, 36);
    if (digit >= used) throw invalid(text, base);
    number = number * BigInt(used) + BigInt(digit);
  }
  return match[1] === '-' ? -number : number;
}

const invalid = (text: string, base: number): JinjaError =>
  valueError(`invalid literal for int() with base ${base}: ${JSON.stringify(text)}`);

const digits = '(?:\\d+_)*\\d+';
const decimal = new RegExp(
  `^[+-]?(?:${digits}(?:\\.(?:${digits})?)?|\\.${digits})(?:e[+-]?${digits})?$`,
  'i',
);

/** float(value). @throws ValueError, TypeError */
export function toFloat(value: Value): number {
  if (value instanceof Undefined) value.fail();
  if (typeof value !== 'string') {
    const number = asNumber(value);
    if (number !== null) return Number(number);
    throw typeError(`float() takes a string or a number, not '${typeName(value)}'`);
  }
  const text = strip(value, null);
  const special = /^([+-]?)(inf(?:inity)?|nan)$/i.exec(text);
  if (special) {
    if (/^nan$/i.test(special[2]!)) return Number.NaN;
    return special[1] === '-' ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  }
  if (!decimal.test(text))
    throw valueError(`could not convert string to float: ${JSON.stringify(value)}`);
  return Number(text.replaceAll('_', ''));
}

/** round(value, digits): half to even where the binary value lies exactly between. */
export function roundTo(value: bigint | number, digits: number): bigint | number {
  if (typeof value === 'bigint') {
    if (digits >= 0) return value;
    const unit = 10n ** BigInt(Math.min(-digits, 4300));
    const rest = ((value % unit) + unit) % unit;
    const low = value - rest;
    if (rest * 2n !== unit) return rest * 2n < unit ? low : low + unit;
    return (low / unit) % 2n === 0n ? low : low + unit;
  }
  if (!Number.isFinite(value) || value === 0 || digits > 22) return value;
  if (digits < 0) {
    const unit = 10 ** -digits;
    return Number(roundTo(value / unit, 0)) * unit;
  }
  return Number(fixed(value, digits));
}

/** toFixed with half to even. @param digits at most 100 */
export function fixed(value: number, digits: number): string {
  const exact =
    Math.abs(value) < 1e21 && digits <= 60 ? value.toFixed(Math.min(digits + 40, 100)) : '';
  const rest = exact.slice(exact.length - Math.min(40, 100 - digits));
  // toFixed rounds half up, away from 0: only an exact half to an even digit differs.
  if (!/^50*$/.test(rest)) return large(value, digits);
  const up = value.toFixed(digits);
  const down = exact.slice(0, exact.length - rest.length).replace(/\.$/, '');
  return /[02468]$/.test(down) ? down : up;
}

function large(value: number, digits: number): string {
  if (Math.abs(value) < 1e21) return value.toFixed(Math.min(digits, 100));
  return `${BigInt(value)}${digits > 0 ? `.${'0'.repeat(digits)}` : ''}`;
}
