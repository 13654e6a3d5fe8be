import { brief, CELL_SHOWN, cut, escaped, grouped, percent } from './html.js';
import type { Histogram } from './rowStatistics.js';

/** A part of a whole as a bar: label, number, share. */
export interface Bar {
  readonly label: string;
  readonly count: number;
  /** Beside the number. */
  readonly note?: string;
}

/** Bars below one another, the longest as wide as there is room. */
export function bars(entries: readonly Bar[], whole: number): string {
  const top = Math.max(1, ...entries.map(({ count }) => count));
  return `<div class="bars">${entries
    .map(
      ({ label, count, note }) =>
        `<div class="bar"><span dir="auto">${escaped(cut(label, CELL_SHOWN))}</span><b style="--w:${widthOf(count / top)}"></b><span class="n">${grouped(count)}${note === undefined ? ` <small>${escaped(percent(count, whole))}</small>` : ` <small>${escaped(note)}</small>`}</span></div>`,
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
  const every = Math.ceil(edges.length / 6);
  const labels = edges
    .map((edge, i) =>
      i % every === 0
        ? `<text x="${(left + i * step).toFixed(1)}" y="${height - 6}" text-anchor="middle">${brief(edge)}</text>`
        : '',
    )
    .join('');
  return `<svg viewBox="0 0 ${width + 20} ${height}" role="img" aria-label="${escaped(label)}">${grid}${shapes}${labels}</svg>`;
}
