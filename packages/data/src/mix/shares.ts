import { AttuneError } from '@attune/core';
import type { MixStrategy } from './mixOptions.js';

/** The share that a source asks for. */
export interface Share {
  readonly name: string;
  readonly ratio?: number | undefined;
  readonly weight?: number | undefined;
}

/** A source whose rows are counted. */
export interface SizedShare extends Share {
  readonly size: number;
}

const sharesError = (what: string, remedy: string) =>
  new AttuneError('DATA_MIX_SHARES', what, { remedy });

const listed = (shares: readonly Share[], value: (share: Share) => unknown) =>
  shares.map((share) => `${share.name} ${value(share) ?? '-'}`).join(', ');

/** The strategy that shares ask for when none is named. */
export function defaultStrategy(shares: readonly Share[]): MixStrategy {
  if (shares.some(({ ratio }) => ratio !== undefined)) return 'ratio';
  return shares.some(({ weight }) => weight !== undefined) ? 'weighted' : 'uniform';
}

/** Which strategies read an option. */
const READ_BY: Readonly<Record<string, readonly MixStrategy[]>> = {
  temperature: ['temperature'],
  stopping: ['interleave'],
  total: ['ratio', 'uniform', 'weighted', 'temperature'],
  onShortage: ['ratio', 'uniform', 'weighted', 'temperature', 'concatenate'],
  take: ['ratio', 'uniform', 'weighted', 'temperature', 'concatenate'],
  order: ['ratio', 'uniform', 'weighted', 'temperature', 'concatenate'],
};

/** @throws DATA_MIX_SHARES for an option that the strategy does not read */
function checkOptions(
  strategy: MixStrategy,
  shares: readonly Share[],
  options: Readonly<Record<string, unknown>>,
): void {
  for (const [name, strategies] of Object.entries(READ_BY))
    if (options[name] !== undefined && !strategies.includes(strategy))
      throw sharesError(
        `${name} is ${String(options[name])}, and the strategy is "${strategy}", which has none.`,
        `Leave it out, or give a strategy that reads it: ${strategies.join(', ')}.`,
      );
  const whole = shares.find(({ ratio }) => ratio === undefined);
  if (strategy === 'ratio' && options.total !== undefined && whole !== undefined)
    throw sharesError(
      `total is ${String(options.total)}, and "${whole.name}" has no ratio: it gives all of its rows.`,
      'Give each source a ratio, or leave total out.',
    );
}

/** @throws DATA_MIX_SHARES when shares don't fit a strategy, one another or other options */
export function checkShares(
  strategy: MixStrategy,
  shares: readonly Share[],
  options: Readonly<Record<string, unknown>>,
): void {
  checkOptions(strategy, shares, options);
  const names = shares.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) < i);
  if (twice !== undefined)
    throw sharesError(
      `two sources are called "${twice}".`,
      'Give each a name of its own; the rows that came in are called "rows" unless own.name says otherwise.',
    );
  if (shares.length < 2)
    throw sharesError(
      `one source ("${names[0]}") is no mixture.`,
      'Name at least two sources, or use its rows as they are.',
    );
  if (strategy === 'ratio') checkRatios(shares);
  else checkWeights(strategy, shares);
}

function checkWeights(strategy: MixStrategy, shares: readonly Share[]): void {
  const withRatio = shares.find(({ ratio }) => ratio !== undefined);
  if (withRatio !== undefined)
    throw sharesError(
      `"${withRatio.name}" has a ratio, and the strategy is "${strategy}".`,
      'Leave the strategy out, or give weights.',
    );
  const without = shares.filter(({ weight }) => weight === undefined);
  if (strategy === 'uniform' || strategy === 'temperature') {
    if (without.length === shares.length) return;
    throw sharesError(
      `the strategy is "${strategy}", and sources have weights (${listed(shares, ({ weight }) => weight)}).`,
      `Leave the weights out, or the strategy: with weights it is "weighted".`,
    );
  }
  if (without.length === shares.length && strategy !== 'weighted') return;
  if (without.length > 0)
    throw sharesError(
      `"${without[0]!.name}" has no weight (${listed(shares, ({ weight }) => weight)}).`,
      without[0]!.name === 'rows'
        ? 'Give the rows that come in one, too: own: { weight: 1 }.'
        : 'Give each source one, or none of them.',
    );
  if (shares.every(({ weight }) => weight === 0))
    throw sharesError('all weights are 0.', 'Give at least one source a weight above 0.');
}

function checkRatios(shares: readonly Share[]): void {
  const withWeight = shares.find(({ weight }) => weight !== undefined);
  if (withWeight !== undefined)
    throw sharesError(
      `"${withWeight.name}" has a weight beside sources with a ratio.`,
      'A ratio is a share of the result, a weight is relative to other weights: use one of the two for all.',
    );
  const sum = shares.reduce((total, { ratio = 0 }) => total + ratio, 0);
  const whole = shares.filter(({ ratio }) => ratio === undefined);
  if (whole.length === shares.length)
    throw sharesError(
      'the strategy is "ratio", and no source has one.',
      'Give the share of the result that a source is: ratio: 0.08.',
    );
  if (whole.length > 0 ? sum >= 1 : Math.abs(sum - 1) > 1e-9)
    throw sharesError(
      `ratios sum to ${Number(sum.toFixed(9))} (${listed(shares, ({ ratio }) => ratio)}).`,
      whole.length > 0
        ? `A ratio is a share of the result: together they leave room for "${whole[0]!.name}", below 1.`
        : 'Ratios of all sources sum to 1. Leave one out for the source that gives all of its rows.',
    );
}

/** What {@link rowsOfEach} depends on beside the sources. */
export interface CountOptions {
  readonly temperature?: number | undefined;
  readonly total?: number | undefined;
}

/**
 * Rows that each source gives, by strategy. Without a remainder that is lost: shares of N rows sum
 * to N.
 */
export function rowsOfEach(
  strategy: Exclude<MixStrategy, 'interleave'>,
  sources: readonly SizedShare[],
  { temperature = 2, total }: CountOptions,
): number[] {
  const sizes = sources.map(({ size }) => size);
  const all = sizes.reduce((sum, size) => sum + size, 0);
  switch (strategy) {
    case 'ratio':
      return rowsByRatio(sources, total);
    case 'uniform':
      return largestRemainder(
        total ?? all,
        sizes.map(() => 1),
      );
    case 'weighted':
      return largestRemainder(
        total ?? all,
        sources.map(({ weight }) => weight ?? 0),
      );
    case 'temperature':
      return largestRemainder(total ?? all, temperatureShares(sizes, temperature));
    case 'concatenate':
      return sources[0]!.weight === undefined
        ? sizes
        : withoutRepeats(
            sources.map(({ weight }) => weight!),
            sizes,
          );
  }
}

/**
 * p = n^(1/T) / sum of n^(1/T): "temperature-scaled mixing".
 *
 * @see T5, arXiv:1910.10683, section 3.5.2
 */
export function temperatureShares(sizes: readonly number[], temperature: number): number[] {
  // By the largest, so that no power overflows when T is far below 1.
  const largest = Math.max(...sizes);
  return sizes.map((size) => (size === largest ? 1 : (size / largest) ** (1 / temperature)));
}

function rowsByRatio(sources: readonly SizedShare[], total: number | undefined): number[] {
  const whole = sources.filter(({ ratio }) => ratio === undefined);
  if (whole.length === 0) {
    const ratios = sources.map(({ ratio }) => ratio!);
    return total === undefined
      ? withoutRepeats(
          ratios,
          sources.map(({ size }) => size),
        )
      : largestRemainder(total, ratios);
  }
  const kept = whole.reduce((sum, { size }) => sum + size, 0);
  const left = 1 - sources.reduce((sum, { ratio = 0 }) => sum + ratio, 0);
  const rows = kept / left; // N
  if (rows > Number.MAX_SAFE_INTEGER)
    throw sharesError(
      `ratios sum to ${1 - left}, so that ${kept} rows are to be ${left} of the result: ${rows} rows.`,
      `Leave more room for "${whole[0]!.name}".`,
    );
  return sources.map(({ ratio, size }) =>
    ratio === undefined ? size : Math.round((ratio * kept) / left),
  );
}

/** Weights in the same proportions whose sum, `times` as large, does not overflow. */
export function inRange(weights: readonly number[], times = 1): readonly number[] {
  const sum = weights.reduce((all, weight) => all + weight, 0);
  if (Number.isFinite(times * sum)) return weights;
  const largest = Math.max(...weights);
  return weights.map((weight) => weight / largest);
}

/** round(w * N) rows of each, N the largest with which none is asked for more than it has (TRL). */
function withoutRepeats(given: readonly number[], sizes: readonly number[]): number[] {
  const weights = inRange(given);
  const sum = weights.reduce((total, weight) => total + weight, 0);
  const shares = weights.map((weight) => weight / sum);
  const total = Math.min(
    ...shares.map((share, i) => (share > 0 ? sizes[i]! / share : Number.POSITIVE_INFINITY)),
  );
  return shares.map((share, i) => Math.min(sizes[i]!, roundHalfEven(share * total)));
}

/** Python's round. */
const roundHalfEven = (x: number): number => {
  const down = Math.floor(x);
  return x - down === 0.5 ? down + (down % 2) : Math.round(x);
};

/**
 * Integers in proportion to weights that sum to `total`: each share rounded down, what is left to
 * the largest remainders, the first of equal ones first (Hamilton's method).
 */
export function largestRemainder(total: number, given: readonly number[]): number[] {
  const weights = inRange(given, total);
  const sum = weights.reduce((all, weight) => all + weight, 0);
  const exact = weights.map((weight) => (total * weight) / sum);
  const counts = exact.map(Math.floor);
  const left = total - counts.reduce((all, count) => all + count, 0);
  const order = exact
    .map((value, i) => ({ i, rest: value - counts[i]! }))
    .sort((a, b) => b.rest - a.rest || a.i - b.i);
  for (const { i } of order.slice(0, left)) counts[i]!++;
  return counts;
}
