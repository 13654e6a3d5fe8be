/** Where the values of an axis begin and end, and what is written beside it. */
export interface Axis {
  readonly ticks: readonly { readonly value: number; readonly text: string }[];
  /** Value -> 0 at the low end, 1 at the high end. */
  place(value: number): number;
}

/** About `count` round numbers that enclose low..high: steps of 1, 2 or 5 times a power of ten. */
export function niceTicks(low: number, high: number, count: number): number[] {
  // Differences below five digits are noise, and steps that small would all have the same name.
  const size = Math.max(Math.abs(low), Math.abs(high));
  const span = high > low ? Math.max(high - low, size * 1e-3) : size > 1e-300 ? size : 1;
  const raw = span / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw * (1 - 1e-9))!;
  const first = Math.floor(low / step);
  const last = Math.max(Math.ceil(high / step), first + 1);
  return Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step);
}

export function linearAxis(low: number, high: number, count: number): Axis {
  const ticks = niceTicks(low, high, count);
  const [from, to] = [ticks[0]!, ticks.at(-1)!];
  return {
    ticks: ticks.map((value) => ({ value, text: short(value) })),
    place: (value) => (value - from) / (to - from),
  };
}

/** Ticks at powers of ten. @param low above 0 */
export function logAxis(low: number, high: number, count: number): Axis {
  const { log10 } = Math;
  const [from, to] = [Math.floor(log10(low)), Math.ceil(log10(high))];
  const every = Math.ceil((to - from) / count);
  const powers = Array.from({ length: to - from + 1 }, (_, i) => from + i);
  return {
    ticks: powers
      .filter((power) => (power - from) % every === 0)
      .map((power) => ({ value: 10 ** power, text: short(10 ** power) })),
    place: (value) => (log10(value) - from) / (to - from),
  };
}

/** From 0 to the last update, in whole updates. */
export function stepAxis(last: number): Axis {
  const ticks = niceTicks(0, last, 5).filter((tick) => Number.isInteger(tick) && tick <= last);
  return {
    ticks: ticks.map((value) => ({ value, text: short(value) })),
    place: (step) => step / last,
  };
}

/** At most five significant digits, and few characters: 0.0123, 5e-5, 1.2e8. */
export function short(value: number): string {
  const size = Math.abs(value);
  const rounded = Number(value.toPrecision(5));
  if (value === 0 || !Number.isFinite(value) || (size >= 1e-3 && size < 1e6))
    return String(rounded);
  const [digits, exponent] = rounded.toExponential().split('e');
  return `${digits}e${Number(exponent)}`;
}
