import type { Histogram } from './rowStatistics.js';
import { type Bin, ValueBins } from './valueBins.js';

/** Bars that the middle of the values is given, at least; at most some two times as many. */
const BARS = 20;
/** Bars on each side for the values beyond the middle; one wide bar where that is not enough. */
const MORE_BARS = 8;
/** What is the middle: from this share of the values to one minus it. */
const RIM = 0.01;
/** How many times the least the largest is where bars may grow instead of being equally wide. */
const WIDE = 8;
/** Where the median lies between the ends of the middle then, at most. */
const SKEW = 0.25;

/** Numbers as they pass, drawn so that most of them can be told apart. */
export class ValueBars {
  readonly #bins = new ValueBins();

  add(value: number): void {
    this.#bins.add(value);
  }

  /**
   * Bars of one width, or that grow by one factor where most values are small beside the largest.
   * They are as narrow as the middle 98 % ask for. What is far beyond is one bar at either end.
   */
  histogram(): Histogram {
    const bins = this.#bins.sorted();
    if (bins.length === 0) return { edges: [], counts: [] };
    const edges = this.#edges(bins);
    const counts = new Array<number>(edges.length - 1).fill(0);
    let bar = 0;
    for (const { start, count } of bins) {
      while (bar < counts.length - 1 && start >= edges[bar + 1]!) bar++;
      counts[bar]! += count;
    }
    return { edges, counts };
  }

  #edges(bins: readonly Bin[]): number[] {
    const [least, largest] = [bins[0]!.start, bins.at(-1)!.start];
    const isWhole = bins.every(({ start }) => Number.isInteger(start));
    const scale = scaleOf(bins, isWhole);
    let [first, last] = [scale.first, scale.last];
    const edge = (i: number) =>
      this.#bins.startOf(isWhole ? Math.ceil(scale.edge(i)) : scale.edge(i));
    for (let more = 0; more < MORE_BARS && edge(first) > least; more++) first--;
    for (let more = 0; more < MORE_BARS && edge(last) <= largest; more++) last++;
    const edges = Array.from({ length: last - first + 1 }, (_, i) => edge(first + i));
    if (edges[0]! > least) edges.unshift(least);
    if (edges.at(-1)! <= largest) edges.push(above(largest, isWhole));
    // Whole numbers near zero lie closer than bars that grow.
    return edges.filter((value, i) => i === 0 || value > edges[i - 1]!);
  }
}

/** A row of edges without an end, and those around the middle of the values. */
interface Scale {
  edge(i: number): number;
  readonly first: number;
  readonly last: number;
}

function scaleOf(bins: readonly Bin[], isWhole: boolean): Scale {
  const [low, middle, high] = quantiles(bins);
  const [positive] = low > 0 ? [low] : quantiles(bins.filter(({ start }) => start > 0));
  const isSkewed =
    bins[0]!.start >= 0 && high > WIDE * positive && middle - low < SKEW * (high - low);
  return isSkewed ? growing(positive, high) : even(low, high, isWhole);
}

/** Where the middle begins, the median, and where the middle ends. */
function quantiles(bins: readonly Bin[]): [low: number, middle: number, high: number] {
  const all = bins.reduce((sum, { count }) => sum + count, 0);
  const [low, middle, high] = [RIM, 0.5, 1 - RIM].map((share) => {
    let left = Math.floor(share * all);
    for (const { start, count } of bins) {
      left -= count;
      if (left < 0) return start;
    }
    return bins.at(-1)?.start ?? 0;
  });
  return [low!, middle!, high!];
}

/** A number that is larger, and not by much. */
const above = (value: number, isWhole: boolean): number =>
  Math.min(Number.MAX_VALUE, value + (isWhole ? 1 : (Math.abs(value) || 1) * 2 ** -50));

/** Edges at the multiples of 1, 2 or 5 times a power of ten. */
function even(low: number, high: number, isWhole: boolean): Scale {
  const wanted = high / BARS - low / BARS || (isWhole ? 1 : Math.abs(low) / BARS || 1 / BARS);
  const ten = 10 ** Math.floor(Math.log10(wanted));
  const times = [5, 2].find((factor) => factor * ten <= wanted) ?? 1;
  const step = isWhole ? Math.max(1, times * ten) : times * ten;
  // 3 times 0.1 is a little more than 0.3, which a value may be.
  const edge = (i: number) => Number((i * step).toPrecision(15));
  const indexOf = (value: number) => {
    const i = Math.round(value / step);
    return edge(i) > value ? i - 1 : i;
  };
  return { edge, first: indexOf(low), last: indexOf(high) + 1 };
}

/** Edges that grow by a root of two, or by a power of it where the span is wide. */
function growing(low: number, high: number): Scale {
  const each = BARS / (Math.log2(high) - Math.log2(low));
  const perOctave = 2 ** Math.min(3, Math.ceil(Math.log2(each)));
  const indexOf = (value: number) => Math.floor(perOctave * Math.log2(value));
  const edge = (i: number) => Math.min(Number.MAX_VALUE, 2 ** (i / perOctave));
  return { edge, first: indexOf(low), last: indexOf(high) + 1 };
}
