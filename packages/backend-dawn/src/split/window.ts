import { numel } from '@attune/core';
import { bytesPerElement, type Operand, type OperandSpec } from '@attune/core/backend';

/** A window starts at a multiple of so many bytes: WebGPU's largest storage offset alignment. */
const ALIGNMENT = 256;

export const bytesOf = ({ shape, dtype }: OperandSpec): number =>
  numel(shape) * bytesPerElement[dtype];

/** The elements of an operand from `start` on, as `shape`. */
export const windowOf = (operand: Operand, start: number, shape: readonly number[]): Operand => ({
  buffer: operand.buffer,
  byteOffset: operand.byteOffset + start * bytesPerElement[operand.dtype],
  shape,
  dtype: operand.dtype,
});

/** Some items of a run of them. */
export interface Range {
  readonly first: number;
  readonly count: number;
}

/** The rows of an operand [rows, ...] that a range says. */
export function rowsOf(operand: Operand, { first, count }: Range): Operand {
  const [, ...rest] = operand.shape;
  return windowOf(operand, first * numel(rest), [count, ...rest]);
}

/** Bytes of a row of an operand [rows, ...]. */
export const rowBytes = ({ shape, dtype }: OperandSpec): number =>
  numel(shape.slice(1)) * bytesPerElement[dtype];

export function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}

/** The fewest items of so many bytes each after which a window may start. */
export const alignedItems = (bytes: number): number => ALIGNMENT / gcd(ALIGNMENT, bytes);

/** What a range of items needs. */
export interface Needs {
  /** Bytes of an item in each operand of which a range is a window. */
  readonly windows: readonly number[];
  /** Bytes of an item in what is written down meanwhile. */
  readonly copies?: readonly number[];
  /** Ranges start at multiples of so many items, beside what the windows ask for. Default 1. */
  readonly unit?: number;
}

/**
 * `count` items in ranges of nearly equal length, none of which needs more than `limit` bytes of an
 * operand; null where there are none.
 */
export function rangesOf(
  count: number,
  limit: number,
  { windows, copies = [], unit = 1 }: Needs,
): Range[] | null {
  const step = windows.map(alignedItems).reduce((a, b) => (a / gcd(a, b)) * b, unit);
  const most = Math.floor(limit / Math.max(...windows, ...copies) / step) * step;
  if (most === 0) return null;
  const size = Math.ceil(count / Math.ceil(count / most) / step) * step;
  const ranges: Range[] = [];
  for (let first = 0; first < count; first += size)
    ranges.push({ first, count: Math.min(size, count - first) });
  return ranges;
}
