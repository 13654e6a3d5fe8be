import { AttuneError } from './errors.js';

const units: Readonly<Record<string, number>> = {
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KIB: 2 ** 10,
  MIB: 2 ** 20,
  GIB: 2 ** 30,
  TIB: 2 ** 40,
};

/**
 * A size in bytes, or as text: "5GB" (10^9, as Hugging Face counts), "8GiB" (2^30).
 *
 * @param name the option it is for, for the message
 * @throws SIZE_INVALID
 */
export function parseBytes(size: number | string, name: string): number {
  const [, digits, unit = 'B'] = /^\s*([\d.]+)\s*([KMGT]?I?B)?\s*$/i.exec(String(size)) ?? [];
  const bytes = Math.floor(Number(digits) * (units[unit.toUpperCase()] ?? Number.NaN));
  if (Number.isSafeInteger(bytes) && bytes > 0) return bytes;
  throw new AttuneError('SIZE_INVALID', `${name} is ${JSON.stringify(size)}; expected a size.`, {
    remedy: 'Give bytes as a number, or text such as "500MB", "5GB" or "8GiB".',
  });
}

/** "1.50 GiB": three digits that matter. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let at = 0;
  let value = bytes;
  while (Math.abs(value) >= 1000 && at < units.length - 1) {
    value /= 1024;
    at++;
  }
  return `${at === 0 ? value : value.toPrecision(3)} ${units[at]}`;
}
