import type { TableJob } from './messages.js';

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
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(value);
    } catch {
      if (binary === 'base64') return Buffer.from(value).toString('base64');
      throw new Error(
        `${value.length} bytes that are no text; binary: "base64" reads them, columns: [...] leaves a column out`,
      );
    }
  }
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

/** Days since 1970 as a date. */
export function dateText(days: number): string | null {
  const date = new Date(days * 86_400_000);
  return Number.isNaN(date.getTime()) ? null : date.toISOString().slice(0, 10);
}

/** A time since 1970 in units of which a second has 10^digits. */
export function timeText(units: bigint, digits: number): string | null {
  const perSecond = 10n ** BigInt(digits);
  const part = ((units % perSecond) + perSecond) % perSecond;
  const date = new Date(Number(((units - part) / perSecond) * 1000n));
  if (Number.isNaN(date.getTime())) return null;
  const fraction = part.toString().padStart(digits, '0').replace(/0+$/, '').padEnd(3, '0');
  return date.toISOString().replace(/\.\d+Z$/, `.${fraction}Z`);
}
