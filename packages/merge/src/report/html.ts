import { formatBytes } from '@attune/core/util';
import { letterOf, type MergeReport, number, percent, type ReportGroup } from './mergeReport.js';

/**
 * The report as a page: one file without scripts or anything from elsewhere, light and dark.
 *
 * It shows norms of the task vectors by layer, what changed most, where signs conflict, and how
 * alike the models are.
 */
export function reportHtml(report: MergeReport): string {
  const { facts, models } = report;
  const title = `Merge report: ${facts.title}`;
  const legend = models
    .map(
      (model, k) =>
        `<li><i class="c${k % COLOURS}"></i><b>${letterOf(k)}</b> ${escaped(model)}</li>`,
    )
    .join('');
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(title)}</title>
<style>${STYLE}</style>
<main>
<h1>${escaped(title)}</h1>
${factTable(report)}
${facts.warnings.length ? `<section><h2>Warnings</h2><ul>${facts.warnings.map((w) => `<li>${escaped(w)}</li>`).join('')}</ul></section>` : ''}
<section><h2>Models</h2><ul class="legend">${legend}</ul></section>
${normSection(report)}
${changeSection(report)}
${conflictSection(report)}
${cosineSection(report)}
${tensorSection(report)}
<section><h2>Config</h2><pre>${escaped(facts.yaml)}</pre></section>
</main>
</html>
`;
}

const COLOURS = 6;

const STYLE = `
:root{color-scheme:light dark;--ink:#1c1f23;--soft:#5b6470;--line:#d9dee4;--paper:#fff;--c0:#2563b5;--c1:#c2571a;--c2:#1f8a5b;--c3:#8a3fa6;--c4:#b0243c;--c5:#6b6f1b}
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ed;--soft:#9aa4b0;--line:#363c44;--paper:#15181c;--c0:#6ea8ff;--c1:#f0935a;--c2:#55c795;--c3:#c98be0;--c4:#f0738a;--c5:#c3c85c}}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:60rem;margin:0 auto;padding:1.5rem}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}p{color:var(--soft);margin:.2rem 0 .8rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.2rem .7rem;text-align:right;border-bottom:1px solid var(--line)}th:first-child,td:first-child{text-align:left}
.wide{overflow-x:auto}pre{overflow-x:auto;border:1px solid var(--line);padding:.8rem;border-radius:4px}
.legend{list-style:none;padding:0;overflow-wrap:anywhere}i{display:inline-block;width:.8em;height:.8em;margin-right:.5em;border-radius:2px}
svg{width:100%;height:auto;max-height:22rem}svg text{fill:var(--soft);font:11px system-ui,sans-serif}svg line{stroke:var(--line)}
${Array.from({ length: COLOURS }, (_, k) => `.c${k}{background:var(--c${k});fill:var(--c${k});stroke:var(--c${k})}`).join('')}
polyline{fill:none!important;stroke-width:2}`;

/** Text as HTML shows it. */
const escaped = (text: string): string =>
  text.replace(/[&<>"]/g, (c) => `&${{ '&': 'amp', '<': 'lt', '>': 'gt', '"': 'quot' }[c]};`);

const tableOf = (header: readonly string[], rows: readonly (readonly string[])[]): string => {
  const line = (cells: readonly string[], tag: string) =>
    `<tr>${cells.map((cell) => `<${tag}>${escaped(cell)}</${tag}>`).join('')}</tr>`;
  return `<div class="wide"><table>${line(header, 'th')}${rows.map((row) => line(row, 'td')).join('')}</table></div>`;
};

function factTable({ facts, tensors, whole }: MergeReport): string {
  const rows = [
    ['Method', `${facts.title} (${facts.method})`],
    ['Base', facts.baseModel ?? 'none'],
    ['Arithmetic', facts.parity === 'mergekit' ? 'as mergekit' : 'float32'],
    ['Seed', `${facts.seed}`],
    ['Tensors', `${tensors.length}`],
    ['Written', `${formatBytes(facts.bytesWritten)} in ${facts.seconds.toFixed(1)} s`],
    [facts.baseModel ? 'Change of the base' : 'Norm of the result', number(whole.change)],
  ];
  return `<table>${rows.map(([a, b]) => `<tr><td>${a}</td><td>${escaped(b!)}</td></tr>`).join('')}</table>`;
}

function normSection(report: MergeReport): string {
  const { models, groups, facts } = report;
  const series = models.map((_, k) => groups.map(({ norms }) => norms[k] ?? null));
  return `<section><h2>${facts.baseModel ? 'Task vectors by layer' : 'Norms by layer'}</h2>
<p>${facts.baseModel ? 'Euclidean norm of what each model adds to the base, as a share of the norm of the base.' : 'Euclidean norm of each model.'}</p>
${lineChart(groups, series)}</section>`;
}

function changeSection({ groups, facts }: MergeReport): string {
  const most = groups.toSorted((a, b) => b.change - a.change).slice(0, 10);
  const rows = most.map(({ label, change }) => [label, number(change)]);
  return `<section><h2>Layers that changed most</h2>
<p>${facts.baseModel ? 'Norm of the result less the base, as a share of the norm of the base.' : 'Norm of the result.'}</p>
${tableOf(['', 'change'], rows)}</section>`;
}

function conflictSection(report: MergeReport): string {
  if (report.whole.signConflicts === null) return '';
  const series = [report.groups.map(({ signConflicts }) => signConflicts)];
  return `<section><h2>Sign conflicts by layer</h2>
<p>Share of the elements that one model raises and another lowers: ${percent(report.whole.signConflicts)} in all. The more there are, the more a plain mean cancels out; TIES elects a sign.</p>
${lineChart(report.groups, series)}</section>`;
}

function cosineSection(report: MergeReport): string {
  const { models } = report;
  if (models.length < 2) return '';
  const letters = models.map((_, k) => letterOf(k));
  const rows = models.map((a, j) => [
    letters[j]!,
    ...models.map((b) => number(report.cosine(a, b))),
  ]);
  return `<section><h2>Cosines</h2>
<p>1: two models change the base in the same direction; 0: in unrelated ones; -1: in opposite ones.</p>
${tableOf(['', ...letters], rows)}</section>`;
}

/** Tensors listed one by one: those that changed most. */
const TENSORS_SHOWN = 100;

function tensorSection({ tensors, models }: MergeReport): string {
  const most = tensors.toSorted((a, b) => relative(b) - relative(a)).slice(0, TENSORS_SHOWN);
  const rows = most.map((tensor) => [
    tensor.name,
    ...models.map((model) => {
      const k = tensor.modelNames.indexOf(model);
      return k < 0 ? '-' : number(tensor.norms[k]! / (tensor.baseNorm || 1));
    }),
    number(relative(tensor)),
    percent(tensor.signConflicts),
  ]);
  const header = ['tensor', ...models.map((_, k) => letterOf(k)), 'change', 'conflicts'];
  return `<section><h2>Tensors that changed most</h2>
${tensors.length > most.length ? `<p>${most.length} of ${tensors.length}; merge-report.json has all.</p>` : ''}
${tableOf(header, rows)}</section>`;
}

const relative = ({ change, baseNorm }: { change: number; baseNorm: number | null }): number =>
  change / (baseNorm || 1);

/** A line for each series over the groups, from 0 up. */
function lineChart(
  groups: readonly ReportGroup[],
  series: readonly (readonly (number | null)[])[],
): string {
  const [width, height, left, bottom] = [720, 220, 56, 24];
  const top = Math.max(...series.flat().map((v) => v ?? 0)) || 1;
  const x = (i: number) => left + ((i + 0.5) * (width - left)) / groups.length;
  const y = (value: number) => 8 + (1 - value / top) * (height - bottom - 8);
  const grid = [0, 0.5, 1].map(
    (share) =>
      `<line x1="${left}" x2="${width}" y1="${y(share * top)}" y2="${y(share * top)}"/><text x="${left - 6}" y="${y(share * top) + 4}" text-anchor="end">${number(share * top)}</text>`,
  );
  const every = Math.ceil(groups.length / 12);
  const labels = groups.flatMap(({ label }, i) =>
    i % every === 0
      ? [
          `<text x="${x(i)}" y="${height - 6}" text-anchor="middle">${escaped(label.replace('layer ', ''))}</text>`,
        ]
      : [],
  );
  const lines = series.map((values, k) => {
    const points = values.flatMap((value, i) => (value === null ? [] : [[i, value] as const]));
    const dots = points.map(
      ([i, value]) =>
        `<circle class="c${k % COLOURS}" cx="${x(i).toFixed(1)}" cy="${y(value).toFixed(1)}" r="3"><title>${escaped(groups[i]!.label)}: ${number(value)}</title></circle>`,
    );
    const line = points.map(([i, value]) => `${x(i).toFixed(1)},${y(value).toFixed(1)}`).join(' ');
    return `<polyline class="c${k % COLOURS}" style="background:none" points="${line}"/>${dots.join('')}`;
  });
  return `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="by layer">${grid.join('')}${labels.join('')}${lines.join('')}</svg>`;
}
