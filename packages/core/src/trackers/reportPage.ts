import type { ReportTable } from '../training/objective.js';
import { brief } from '../util/brief.js';
import { escapeXml } from './escapeXml.js';
import { PLOT_STYLE } from './plotStyle.js';

/** Name and value, both as plain text. */
export type Row = readonly [name: string, value: string];

export interface ReportPage {
  readonly title: string;
  /** SVG elements, as `linePlot` makes them. */
  readonly plots: readonly string[];
  readonly summary: readonly Row[];
  readonly tables: readonly ReportTable[];
  /** Arguments that are not defaults. */
  readonly changed: readonly Row[];
  /** All others, folded. */
  readonly others: readonly Row[];
}

const STYLE = `
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 920px; margin: 24px auto; padding: 0 16px; }
h1, td, th { overflow-wrap: anywhere; } h1 { font-size: 20px; } h2, summary { font-size: 16px; font-weight: 600; margin: 28px 0 6px; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 360px), 1fr)); gap: 20px; }
.plot { width: 100%; max-width: 520px; height: auto; }
table { border-collapse: collapse; width: 100%; }
tr { border-bottom: 1px solid var(--grid); }
th, td { vertical-align: baseline; } th { text-align: left; font-weight: 400; color: var(--soft); padding: 4px 16px 4px 0; width: 38%; }
td { padding: 4px 0; font-variant-numeric: tabular-nums; white-space: pre-wrap; }
summary { cursor: pointer; }
.wide { overflow-x: auto; } .wide th { width: auto; white-space: nowrap; } .wide td { padding: 4px 16px 4px 0; overflow-wrap: normal; } .wide td.text { min-width: 140px; overflow-wrap: anywhere; }
@media (max-width: 520px) { th { width: 50%; font-size: 13px; padding-right: 10px; } }`;

/** The whole page: one file that asks for nothing else and runs no script, to be sent by mail. */
export function reportPage(page: ReportPage): string {
  const { title, plots, summary, tables, changed, others } = page;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeXml(title)}</title>
<style>${PLOT_STYLE}${STYLE}
</style>
</head>
<body>
<h1>${escapeXml(title)}</h1>
${table(summary)}
<h2>Curves</h2>
${plots.length > 0 ? `<div class="plots">\n${plots.join('\n')}\n</div>` : '<p>Nothing was logged: see loggingSteps.</p>'}
${tables.map(wideTable).join('')}<h2>Arguments</h2>
${changed.length > 0 ? table(changed) : '<p>All at their defaults.</p>'}
<details>
<summary>${others.length} at their defaults or derived</summary>
${table(others)}
</details>
</body>
</html>
`;
}

const table = (rows: readonly Row[]): string =>
  `<table>\n${rows.map(([name, value]) => `<tr><th scope="row">${escapeXml(name)}</th><td>${escapeXml(value)}</td></tr>`).join('\n')}\n</table>`;

/** Rows of a table beyond these are counted and left out: a page is no data set. */
const MOST_ROWS = 100;
/** Characters of a cell. */
const LONGEST_CELL = 2000;

function wideTable({ title, columns, rows }: ReportTable): string {
  const cell = (value: string | number | null): string => {
    if (typeof value === 'string') return `<td class="text">${escapeXml(cut(value))}</td>`;
    return `<td>${value === null ? '' : brief(value)}</td>`;
  };
  const line = (cells: readonly string[]) => `<tr>${cells.join('')}</tr>`;
  const head = line(columns.map((name) => `<th scope="col">${escapeXml(name)}</th>`));
  const body = rows.slice(0, MOST_ROWS).map((row) => line(row.map(cell)));
  const left = rows.length - body.length;
  return `<h2>${escapeXml(title)}</h2>
<div class="wide"><table>
${[head, ...body].join('\n')}
</table></div>
${left > 0 ? `<p>and ${left} more</p>\n` : ''}`;
}

const cut = (text: string): string =>
  text.length > LONGEST_CELL ? `${text.slice(0, LONGEST_CELL)}…` : text;
