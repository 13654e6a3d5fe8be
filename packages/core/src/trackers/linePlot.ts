import { displayWidth } from '../callbacks/liveLine.js';
import { type Axis, linearAxis, logAxis, short, stepAxis } from './axis.js';
import { type Panel, type Series, thin } from './curve.js';
import { cut, escapeXml } from './escapeXml.js';

/**
 * Width of one panel, in units of its viewBox. A phone shows it at nearly this width, so text stays
 * readable.
 */
export const PANEL_WIDTH = 400;
const LEFT = 70;
/** Half a label of the last tick. */
const RIGHT = 24;
const INNER = PANEL_WIDTH - LEFT - RIGHT;
const HEIGHT = 170;
/** Tick labels and the title of the x-axis. */
const BELOW = 42;
/** Between two lines of the legend. */
const LINE = 18;
/** A mark at each point, to be pointed at; more would be a blot. */
const MOST_MARKS = 150;
/** Columns of a name in the legend. */
const LONGEST = 24;

export interface PanelImage {
  readonly svg: string;
  readonly height: number;
}

/**
 * One panel as SVG: legend with the last values, axes with their titles, curves. Points say their
 * numbers when the mouse is over them.
 *
 * @param last the last update: the right end of the x-axis
 * @param place where the panel stands in an image around it. Default: it is the image
 */
export function linePlot(
  panel: Panel,
  last: number,
  place: { readonly x: number; readonly y: number } | null = null,
): PanelImage {
  const { title, series } = panel;
  const legend = legendOf(series);
  const top = legend.height + 10;
  const height = top + HEIGHT + BELOW;
  const [across, up] = [stepAxis(last), valueAxis(panel)];
  const x = (step: number) => fix(LEFT + across.place(step) * INNER);
  const y = (value: number) => fix(top + HEIGHT * (1 - up.place(value)));
  const [bottom, middle] = [top + HEIGHT, top + HEIGHT / 2];
  const right = LEFT + INNER;
  const parts = [
    ...up.ticks.map(
      ({ value, text }) =>
        `<line class="grid" x1="${LEFT}" x2="${right}" y1="${y(value)}" y2="${y(value)}"/><text x="${LEFT - 7}" y="${y(value) + 4}" text-anchor="end">${text}</text>`,
    ),
    ...across.ticks.map(
      ({ value, text }) =>
        `<text x="${x(value)}" y="${bottom + 17}" text-anchor="middle">${text}</text>`,
    ),
    `<text class="axis" x="${LEFT + INNER / 2}" y="${height - 6}" text-anchor="middle">step</text>`,
    `<text class="axis" transform="translate(13 ${middle}) rotate(-90)" text-anchor="middle">${escapeXml(cut(title, LONGEST))}</text>`,
    ...series.map((one) => curve(one, x, y)),
    legend.svg,
  ];
  const at =
    place === null
      ? ''
      : ` x="${place.x}" y="${place.y}" width="${PANEL_WIDTH}" height="${height}"`;
  const name = escapeXml(`${title} over steps`);
  return {
    svg: `<svg class="plot" xmlns="http://www.w3.org/2000/svg"${at} viewBox="0 0 ${PANEL_WIDTH} ${height}" role="img" aria-label="${name}">\n${parts.join('\n')}\n</svg>`,
    height,
  };
}

function valueAxis({ series, fromZero, isLog }: Panel): Axis {
  // Ten thousand arguments of Math.min are too many for some engines.
  let [low, high] = [fromZero ? 0 : Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const { points } of series)
    for (const { y } of points) {
      low = Math.min(low, y);
      high = Math.max(high, y);
    }
  return isLog ? logAxis(low, high, 5) : linearAxis(low, high, 5);
}

function curve(
  { kind, label, points, marked }: Series,
  x: (step: number) => number,
  y: (value: number) => number,
): string {
  const kept = thin(points);
  const line = `<polyline class="line ${kind}" points="${kept.map((p) => `${x(p.x)},${y(p.y)}`).join(' ')}"/>`;
  if (kept.length > MOST_MARKS) return line;
  const r = marked || kept.length === 1 ? 3 : 1.5;
  const name = escapeXml(cut(label, LONGEST));
  const dots = kept.map(
    (p) =>
      `<circle class="${kind}" cx="${x(p.x)}" cy="${y(p.y)}" r="${r}"><title>${name}, step ${p.x}: ${short(p.y)}</title></circle>`,
  );
  return [line, ...dots].join('');
}

/** The name of each series and its last value, in as many lines as they need. */
function legendOf(series: readonly Series[]): { readonly svg: string; readonly height: number } {
  let [x, y] = [LEFT, LINE];
  const entries = series.map(({ label, kind, points }) => {
    const text = `${cut(label, LONGEST)} ${short(points.at(-1)!.y)}`;
    const width = 38 + 7 * displayWidth(text);
    if (x > LEFT && x + width > PANEL_WIDTH) [x, y] = [LEFT, y + LINE];
    const entry = `<line class="line ${kind}" x1="${x}" x2="${x + 16}" y1="${y - 4}" y2="${y - 4}"/><text class="name" x="${x + 22}" y="${y}">${escapeXml(text)}</text>`;
    x += width;
    return entry;
  });
  return { svg: entries.join('\n'), height: y };
}

const fix = (value: number): number => Math.round(value * 10) / 10;
