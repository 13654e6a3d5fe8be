import { formatOrigin, isProblem } from '../contract/dataRow.js';
import type { DataReport } from '../pipeline/dataReport.js';
import { rowToJson } from '../pipeline/rowLines.js';
import type { LostRow, StageReport } from '../pipeline/stageTally.js';
import { bars, histogramChart } from './charts.js';
import { factsHtml, words } from './factHtml.js';
import { brief, cut, escaped, grouped, percent, ROW_SHOWN, tableOf } from './html.js';
import type { NumberSummary, RowStatistics } from './rowStatistics.js';

/**
 * The report of a pipeline as a page: one file without scripts or anything from elsewhere, light
 * and dark, for wide and narrow windows. Rows are shown as text, whatever stands in them.
 */
export function reportHtml(report: DataReport, title = 'Data report'): string {
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${escaped(title)}</title>
<style>${STYLE}</style>
<main>
<h1>${escaped(title)}</h1>
${summary(report)}
${warnings(report.warnings)}
${funnel(report.stages)}
${times(report)}
${losses(report)}
${statistics(report.statistics)}
<section><h2>Stage by stage</h2>
${report.stages.map(stageHtml).join('')}</section>
</main>
</html>
`;
}

const STYLE = `
:root{color-scheme:light dark;--ink:#1c1f23;--soft:#5b6470;--line:#d9dee4;--paper:#fff;--box:#f6f7f9;--bar:#2563b5;--warn:#b0243c}
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ed;--soft:#9aa4b0;--line:#363c44;--paper:#15181c;--box:#1c2026;--bar:#6ea8ff;--warn:#f0738a}}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:64rem;margin:0 auto;padding:1.25rem;overflow-wrap:anywhere}
h1{font-size:1.5rem;margin:.3rem 0 1rem}h2{font-size:1.15rem;margin:2rem 0 .6rem}h3{font-size:1rem;margin:1.2rem 0 .4rem}h4{font-size:.9rem;margin:1rem 0 .3rem;color:var(--soft);font-weight:600}
p,small{color:var(--soft)}p{margin:.2rem 0 .6rem}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.5rem,1fr));gap:.6rem}
.cards div{background:var(--box);border:1px solid var(--line);border-radius:6px;padding:.5rem .8rem}
.cards b{display:block;font-size:1.35rem;font-variant-numeric:tabular-nums}.cards span{color:var(--soft)}
.warn{border-left:3px solid var(--warn);padding:.1rem .9rem;margin:.8rem 0}.warn ul{padding-left:1.1rem;margin:.3rem 0}
.bars{display:grid;gap:.25rem}
.bar{display:grid;grid-template-columns:minmax(6rem,13rem) 1fr 9.5rem;gap:.7rem;align-items:center}
.bar b{height:.95rem;width:var(--w);background:var(--bar);border-radius:2px}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
table{border-collapse:collapse}td{overflow-wrap:break-word}th,td{padding:.2rem .8rem .2rem 0;text-align:start;border-bottom:1px solid var(--line);vertical-align:top;min-width:3rem}th{color:var(--soft);font-weight:600}
th.n,td.n{text-align:right}.wide{overflow-x:auto}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));gap:1rem}
svg{width:100%;height:auto}svg text{fill:var(--soft);font:12px system-ui,sans-serif}svg line{stroke:var(--line)}svg rect{fill:var(--bar)}
details{border:1px solid var(--line);border-radius:6px;margin:.5rem 0;padding:.45rem .8rem;background:var(--box)}
summary{cursor:pointer;font-weight:600}summary small{font-weight:400;margin-left:.5rem}
pre{margin:.3rem 0 .8rem;padding:.6rem;background:var(--paper);border:1px solid var(--line);border-radius:4px;font-size:13px;max-height:18rem;overflow:auto;white-space:pre-wrap;unicode-bidi:plaintext}
.inner{border-left:2px solid var(--line);padding-left:.8rem}
@media (max-width:560px){main{padding:.8rem}.bar{grid-template-columns:1fr auto;gap:.1rem .6rem}.bar b{grid-column:1/-1;order:3}th,td{padding-right:.5rem}}`;

function summary(report: DataReport): string {
  const { rowsIn, rowsOut, quarantined, dropped, added, splits, groupsShared, seconds } = report;
  const sum = (counts: Readonly<Record<string, number>>) =>
    Object.values(counts).reduce((all, count) => all + count, 0);
  const parts = Object.entries(splits).filter(([, count]) => count > 0);
  const cards: [string, string][] = [
    ['rows in', grouped(rowsIn)],
    ['rows out', grouped(rowsOut)],
    ['dropped', grouped(sum(dropped))],
    ['quarantined', grouped(quarantined)],
    ...(sum(added) > 0 ? [['added (among rows in)', grouped(sum(added))] as [string, string]] : []),
    ...(parts.length > 1
      ? parts.map(([name, count]): [string, string] => [name, grouped(count)])
      : []),
    ...(groupsShared === null
      ? []
      : [['groups on two sides', grouped(groupsShared)] as [string, string]]),
    ['seconds', seconds.toFixed(1)],
  ];
  return `<div class="cards">${cards.map(([label, value]) => `<div><b>${value}</b><span>${label}</span></div>`).join('')}</div>`;
}

const warnings = (all: readonly string[]): string =>
  all.length === 0
    ? ''
    : `<section class="warn"><h2>Warnings</h2><ul>${all.map((text) => `<li dir="auto">${escaped(cut(text, ROW_SHOWN))}</li>`).join('')}</ul></section>`;

/** Rows behind each stage, against those that were read. */
function funnel(stages: readonly StageReport[]): string {
  const entries = stages.map(({ name, rowsIn, rowsOut }) => ({
    label: name,
    count: rowsOut,
    note:
      rowsOut === rowsIn
        ? ''
        : `${rowsOut > rowsIn ? '+' : '−'}${grouped(Math.abs(rowsOut - rowsIn))}`,
  }));
  return `<section><h2>Rows behind each stage</h2>${bars(entries, 1)}</section>`;
}

/** Time of each stage's own work, and what is left for counting and writing the rows. */
function times({ stages, seconds }: DataReport): string {
  const rest = seconds - stages.reduce((sum, stage) => sum + stage.seconds, 0);
  const all = [...stages, { name: 'counting and writing', seconds: Math.max(0, rest) }];
  const entries = all.map((part) => ({
    label: part.name,
    count: part.seconds,
    shown: `${part.seconds.toFixed(1)} s`,
  }));
  return `<section><h2>Where the time went</h2>${bars(entries, seconds)}</section>`;
}

function losses({ dropped, quarantined, rowsIn, stages }: DataReport): string {
  const aside = new Map<string, number>();
  for (const stage of stages)
    for (const [reason, count] of Object.entries(stage.quarantined))
      aside.set(reason, (aside.get(reason) ?? 0) + count);
  const byCount = (counts: Iterable<readonly [string, number]>) =>
    [...counts].map(([label, count]) => ({ label, count })).sort((a, b) => b.count - a.count);
  const drops = byCount(Object.entries(dropped));
  return `<section><h2>Why rows were dropped</h2>${drops.length === 0 ? '<p>No row was.</p>' : bars(drops, rowsIn)}
${quarantined === 0 ? '' : `<h3>Why rows were put aside</h3>${bars(byCount(aside), rowsIn)}`}</section>`;
}

function statistics({ characters, numbers, values }: RowStatistics): string {
  const charts = [
    ...(characters === null ? [] : [['Characters of a row', characters] as const]),
    ...Object.entries(numbers),
  ];
  if (charts.length === 0) return '';
  return `<section><h2>The rows that came out</h2><div class="charts">${charts
    .map(([name, numbers]) => numberChart(name, numbers))
    .join('')}</div>${Object.entries(values)
    .map(([name, counts]) => {
      const entries = Object.entries(counts).map(([label, count]) => ({
        label: label === '' ? '(empty)' : label,
        count,
      }));
      const whole = entries.reduce((sum, { count }) => sum + count, 0);
      return `<h3>${escaped(name)}</h3>${bars(entries, whole)}`;
    })
    .join('')}</section>`;
}

const numberChart = (name: string, { least, largest, mean, histogram }: NumberSummary): string =>
  `<div><h3>${escaped(cut(name, 80))}</h3><p>mean ${brief(mean)}, from ${brief(least)} to ${brief(largest)}</p>${histogramChart(histogram, name)}</div>`;

function stageHtml(stage: StageReport): string {
  const { name, rowsIn, rowsOut, added, seconds, facts, samples } = stage;
  const adds = Object.entries(added).map(([reason, count]) => [reason, count] as const);
  const lost = lostByReason(stage);
  const head = `<summary>${escaped(name)}<small>${grouped(rowsIn)} in, ${grouped(rowsOut)} out, ${seconds.toFixed(1)} s</small></summary>`;
  const body = [
    stage.warnings.length > 0 ? warnings(stage.warnings) : '',
    adds.length > 0 ? `<h4>added</h4>${tableOf([], adds)}` : '',
    factsHtml(facts),
    ...lost.map(([reason, count]) => {
      const shown = samples.filter((sample) => sample.reason === reason);
      return `<h4>${escaped(words(reason))}: ${grouped(count)} of ${grouped(rowsIn)} rows, ${escaped(percent(count, rowsIn))}; the first ${shown.length}</h4>${shown.map(sampleHtml).join('')}`;
    }),
  ].join('');
  return body === ''
    ? `<details>${head}<p>Every row went on.</p></details>`
    : `<details${lost.length > 0 || adds.length > 0 ? ' open' : ''}>${head}${body}</details>`;
}

const lostByReason = ({ dropped, quarantined }: StageReport) =>
  [...Object.entries(dropped), ...Object.entries(quarantined)].sort((a, b) => b[1] - a[1]);

function sampleHtml({ row, detail }: LostRow): string {
  const text = isProblem(row) ? (row.raw ?? '') : rowToJson(row.row);
  const why = detail === undefined ? '' : `: ${cut(detail, ROW_SHOWN)}`;
  return `<p dir="auto">${escaped(formatOrigin(row.origin) + why)}</p>${text === '' ? '' : `<pre dir="auto">${escaped(cut(text, ROW_SHOWN))}</pre>`}`;
}
