import { Buffer, isUtf8 } from 'node:buffer';
import type { TableJob } from './messages.js';

/** In the place of a value that cannot be: the problem is that of its row. */
export class Unreadable {
  constructor(readonly why: string) {}
}

/** A value as JSON has it. @throws an Error that says what it is, for bytes that are no text */
export function plainValue(value: unknown, binary: TableJob['binary']): unknown {
  if (value === null || value === undefined) return null;
  if (typeof value === 'string' || typeof value === 'boolean') return value;
  // JSON has no NaN; tables write it for what is missing.
  if (typeof value === 'number') return Number.isFinite(value) ? value : null;
  if (typeof value === 'bigint')
    return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER
      ? Number(value)
      : value;
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  if (value instanceof Uint8Array) {
    const text = plainText(value);
    if (text !== null) return text;
    if (binary === 'base64') return Buffer.from(value).toString('base64');
    throw new Error(
      `${value.length} bytes that are no text; binary: "base64" reads them, columns: [...] leaves a column out`,
    );
  }
  if (value instanceof Unreadable) throw new Error(value.why);
  if (ArrayBuffer.isView(value))
    return Array.from(value as unknown as ArrayLike<unknown>, (item) => plainValue(item, binary));
  if (Array.isArray(value)) return value.map((item) => plainValue(item, binary));
  const object: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value as object))
    Object.defineProperty(object, key, {
      value: plainValue(item, binary),
      enumerable: true,
      configurable: true,
      writable: true,
    });
  return object;
}

/** Null: they are no UTF-8. */
export function plainText(bytes: Uint8Array): string | null {
  return isUtf8(bytes)
    ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString()
    : null;
}

/** The number nearest to an integer of so many digits at most, divided by 10^scale. */
export function decimalNumber(
  integer: bigint,
  scale: number,
  precision: number,
): number | Unreadable {
  const limit = 10n ** BigInt(precision);
  return integer < limit && -integer < limit
    ? Number(`${integer}e${-scale}`)
    : new Unreadable(`${integer} is no decimal of ${precision} digits`);
}

/** A time of day in units of which a second has 10^digits. */
export function dayTimeText(units: bigint, digits: number): string | Unreadable {
  return units >= 0n && units < 86_400n * 10n ** BigInt(digits)
    ? isoText(units, digits)!.slice(11, -1)
    : new Unreadable(`${units} is no time of a day`);
}

/** Days since 1970 as a date. */
export function dateText(days: number): string | Unreadable {
  const date = new Date(days * 86_400_000);
  return Number.isNaN(date.getTime())
    ? new Unreadable(`${days} days since 1970 are no date`)
    : date.toISOString().split('T')[0]!;
}

/** A time since 1970 in units of which a second has 10^digits. */
export const timeText = (units: bigint, digits: number): string | Unreadable =>
  isoText(units, digits) ?? new Unreadable(`${units} since 1970 is no time`);

function isoText(units: bigint, digits: number): string | null {
  const perSecond = 10n ** BigInt(digits);
  const part = ((units % perSecond) + perSecond) % perSecond;
  const date = new Date(Number(((units - part) / perSecond) * 1000n));
  if (Number.isNaN(date.getTime())) return null;
  const fraction = part.toString().padStart(digits, '0').replace(/0+$/, '').padEnd(3, '0');
  return date.toISOString().replace(/\.\d+Z$/, `.${fraction}Z`);
}
