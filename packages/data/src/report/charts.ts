import { brief, CELL_SHOWN, cut, escaped, grouped, percent } from './html.js';
import type { Histogram } from './rowStatistics.js';

/** A part of a whole as a bar: label, number, share. */
export interface Bar {
  readonly label: string;
  readonly count: number;
  /** Beside the number. */
  readonly note?: string;
  /** In place of the number. */
  readonly shown?: string;
}

/** Bars below one another, the longest as wide as there is room. */
export function bars(entries: readonly Bar[], whole: number): string {
  const top = Math.max(0, ...entries.map(({ count }) => count)) || 1;
  return `<div class="bars">${entries
    .map(
      ({ label, count, note, shown = grouped(count) }) =>
        `<div class="bar"><span dir="auto">${escaped(cut(label, CELL_SHOWN))}</span><b style="--w:${widthOf(count / top)}"></b><span class="n">${shown}${note === undefined ? ` <small>${escaped(percent(count, whole))}</small>` : ` <small>${escaped(note)}</small>`}</span></div>`,
    )
    .join('')}</div>`;
}

/** Wide enough to be seen where there is anything. */
const widthOf = (share: number) =>
  share === 0 ? '0' : `${Math.max(0.3, 100 * share).toFixed(2)}%`;

/** Bars side by side over a scale. */
export function histogramChart({ edges, counts }: Histogram, label: string): string {
  const [width, height, left, bottom] = [420, 150, 46, 22];
  const top = Math.max(1, ...counts);
  const step = (width - left) / counts.length;
  const y = (count: number) => 8 + (1 - count / top) * (height - bottom - 8);
  const grid = [0, top]
    .map(
      (count) =>
        `<line x1="${left}" x2="${width}" y1="${y(count)}" y2="${y(count)}"/><text x="${left - 6}" y="${y(count) + 4}" text-anchor="end">${grouped(count)}</text>`,
    )
    .join('');
  const shapes = counts
    .map((count, i) => {
      const x = left + i * step;
      const range = `${brief(edges[i]!)} to ${brief(edges[i + 1]!)}: ${grouped(count)}`;
      return count === 0
        ? ''
        : `<rect x="${(x + 0.5).toFixed(1)}" width="${Math.max(1, step - 1).toFixed(1)}" y="${y(count).toFixed(1)}" height="${Math.max(1, height - bottom - y(count)).toFixed(1)}"><title>${range}</title></rect>`;
    })
    .join('');
  const texts = edges.map(brief);
  const labels = shownLabels(texts, step)
    .map((i) => {
      const x = (left + i * step).toFixed(1);
      const anchor = i === edges.length - 1 ? 'end' : 'middle';
      return `<text x="${x}" y="${height - 6}" text-anchor="${anchor}">${texts[i]}</text>`;
    })
    .join('');
  return `<svg viewBox="0 0 ${width + 8} ${height}" role="img" aria-label="${escaped(label)}">${grid}${shapes}${labels}</svg>`;
}

/** Width of a character of a label, and the room between two. */
const CHARACTER = 6.6;
const GAP = 10;

/** The edges that are labelled: both ends, and as many between as have room. */
function shownLabels(texts: readonly string[], step: number): number[] {
  const last = texts.length - 1;
  const halfWidth = (i: number) => (texts[i]!.length * CHARACTER) / 2;
  // The label of the last edge ends there.
  const room = last * step - 2 * halfWidth(last) - GAP;
  const every = Math.max(1, Math.ceil(last / 6));
  const shown = [0];
  let end = halfWidth(0) + GAP;
  for (let i = 1; i < last; i++) {
    const isNext = i - shown.at(-1)! >= every || i === last - 1;
    if (!isNext || i * step - halfWidth(i) < end || i * step + halfWidth(i) > room) continue;
    shown.push(i);
    end = i * step + halfWidth(i) + GAP;
  }
  return last > 0 ? [...shown, last] : shown;
}
