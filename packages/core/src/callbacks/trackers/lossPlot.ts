import type { LogEntry } from '../../trainer/trainerState.js';

interface Point {
  readonly x: number;
  readonly y: number;
}

interface Series {
  readonly label: string;
  /** Class in the style sheet: its colour. */
  readonly kind: string;
  readonly points: readonly Point[];
  /** A mark at each point: few of them, as evaluations are. */
  readonly marked: boolean;
}

const WIDTH = 860;
const PLOT = { left: 64, right: 150, top: 28 };
/** Between two labels. */
const LINE = 14;
const INNER = WIDTH - PLOT.left - PLOT.right;

const STYLE = `
  svg { font: 12px system-ui, sans-serif; --ink: #1f2430; --soft: #6a7181; --grid: #e3e6ec; --a: #2563c9; --b: #c2570c; --c: #2f8f6b; --d: #8a4bb0; background: #fff; }
  @media (prefers-color-scheme: dark) { svg { --ink: #e8eaf0; --soft: #9aa3b5; --grid: #303644; --a: #7aa9f7; --b: #f0a060; --c: #6fcfa5; --d: #c79be6; background: #16181d; } }
  text { fill: var(--soft); } .title { fill: var(--ink); font-size: 14px; font-weight: 600; }
  .grid { stroke: var(--grid); } .line { fill: none; stroke-width: 1.75; stroke-linejoin: round; }
  .a { stroke: var(--a); } .b { stroke: var(--b); } .c { stroke: var(--c); } .d { stroke: var(--d); }
  text.a, circle.a { fill: var(--a); stroke: none; } text.b, circle.b { fill: var(--b); stroke: none; }
  text.c, circle.c { fill: var(--c); stroke: none; } text.d, circle.d { fill: var(--d); stroke: none; }`;

/**
 * The log of a run as SVG: training and evaluation loss over the updates, below them gradient norm and
 * learning rate. Points say their numbers when the mouse is over them.
 */
export function lossPlot(history: readonly LogEntry[], title: string): string {
  const of = (name: string): Point[] =>
    history.flatMap((row) => {
      const y = row[name];
      return y !== undefined && Number.isFinite(y) ? [{ x: row.step, y }] : [];
    });
  const evalNames = [...new Set(history.flatMap((row) => Object.keys(row)))].filter((name) =>
    /^eval.*Loss$/.test(name),
  );
  const evaluations = evalNames.map((name, i) => ({
    label: evalLabel(name),
    kind: ['b', 'c', 'd'][i % 3]!,
    points: of(name),
    marked: true,
  }));
  const single = (label: string, name: string): Series[] => [
    { label, kind: 'a', points: of(name), marked: false },
  ];
  const last = Math.max(1, ...history.map((row) => row.step));
  const panels = [
    { height: 300, series: [...single('train', 'loss'), ...evaluations], fromZero: false },
    { height: 110, series: single('grad norm', 'gradNorm'), fromZero: true },
    { height: 110, series: single('learning rate', 'learningRate'), fromZero: true },
  ].filter(({ series }) => series.some(({ points }) => points.length > 0));
  let top = PLOT.top + 14;
  const drawn = panels.map(({ height, series, fromZero }) => {
    const svg = panel(series, { top, height, last, fromZero });
    top += height + 34;
    return svg;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${top + 6}" width="${WIDTH}" height="${top + 6}" role="img">
<style>${STYLE}</style>
<text class="title" x="${PLOT.left}" y="22">${escapeXml(title)}</text>
${drawn.join('\n')}
<text x="${PLOT.left + INNER / 2}" y="${top - 2}" text-anchor="middle">update</text>
</svg>
`;
}

interface PanelPlace {
  readonly top: number;
  readonly height: number;
  /** The last update: the right end of the x-axis. */
  readonly last: number;
  readonly fromZero: boolean;
}

function panel(series: readonly Series[], { top, height, last, fromZero }: PanelPlace): string {
  const values = series.flatMap(({ points }) => points.map(({ y }) => y));
  const low = fromZero ? Math.min(0, ...values) : Math.min(...values);
  const ticks = niceTicks(low, Math.max(...values), height > 200 ? 6 : 3);
  const [bottomValue, topValue] = [ticks[0]!, ticks.at(-1)!];
  const x = (step: number) => PLOT.left + (step / last) * INNER;
  const y = (value: number) =>
    top + height * (1 - (value - bottomValue) / (topValue - bottomValue));
  const grid = ticks.map(
    (tick) =>
      `<line class="grid" x1="${PLOT.left}" x2="${PLOT.left + INNER}" y1="${fix(y(tick))}" y2="${fix(y(tick))}"/><text x="${PLOT.left - 8}" y="${fix(y(tick) + 4)}" text-anchor="end">${short(tick)}</text>`,
  );
  const steps = niceTicks(0, last, 6).filter((tick) => tick <= last);
  const axis = steps.map(
    (tick) =>
      `<text x="${fix(x(tick))}" y="${top + height + 16}" text-anchor="middle">${short(tick)}</text>`,
  );
  const lines = series.map(({ kind, label, points, marked }) => {
    const path = points.map((p) => `${fix(x(p.x))},${fix(y(p.y))}`).join(' ');
    const dots = points.map(
      (p) =>
        `<circle class="${kind}" cx="${fix(x(p.x))}" cy="${fix(y(p.y))}" r="${marked || points.length === 1 ? 3 : 1.25}"><title>${escapeXml(label)} at ${p.x}: ${p.y.toPrecision(5)}</title></circle>`,
    );
    return `<polyline class="line ${kind}" points="${path}"/>${dots.join('')}`;
  });
  return [...grid, ...axis, ...lines, ...labels(series, y, top + height)].join('\n');
}

/** The name of each series beside its last point, pushed apart where they would overlap. */
function labels(series: readonly Series[], y: (value: number) => number, bottom: number): string[] {
  const places = series
    .filter(({ points }) => points.length > 0)
    .map(({ kind, label, points }) => ({ kind, label, value: points.at(-1)!.y }))
    .map((entry) => ({ ...entry, at: y(entry.value) + 4 }))
    .sort((a, b) => a.at - b.at);
  let above = Number.NEGATIVE_INFINITY;
  const at = places.map((place) => {
    above = Math.max(place.at, above + LINE);
    return above;
  });
  // None below the panel: there the next one begins.
  const overflow = Math.max(0, (at.at(-1) ?? 0) - bottom);
  return places.map(({ kind, label, value }, i) => {
    return `<text class="${kind}" x="${PLOT.left + INNER + 8}" y="${fix(at[i]! - overflow)}">${escapeXml(label)} ${short(value)}</text>`;
  });
}

/** About `count` round numbers that enclose low..high: steps of 1, 2 or 5 times a power of ten. */
export function niceTicks(low: number, high: number, count: number): number[] {
  const span = high > low ? high - low : Math.abs(high) || 1;
  const raw = span / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw)!;
  const first = Math.floor(low / step);
  const last = Math.max(Math.ceil(high / step), first + 1);
  return Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step);
}

/** "evalLoss" -> "eval", "evalMathLoss" -> "eval math". */
const evalLabel = (name: string): string =>
  name.slice(0, -4).replace(/(?<=[a-z0-9])[A-Z]/g, (c) => ` ${c.toLowerCase()}`);

const fix = (value: number): string => String(Math.round(value * 100) / 100);

function short(value: number): string {
  const size = Math.abs(value);
  if (value === 0) return '0';
  return size >= 1e5 || size < 1e-3 ? value.toExponential(1) : String(Number(value.toPrecision(3)));
}

export const escapeXml = (text: string): string =>
  text.replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c]!);
