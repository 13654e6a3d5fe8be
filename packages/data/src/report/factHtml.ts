import { isPlainObject, type PlainJson } from '@attune/core/util';
import { bars, histogramChart } from './charts.js';
import { brief, cut, escaped, ROW_SHOWN, tableOf } from './html.js';

/** Entries of a list or a table that a page shows. */
const MOST_ENTRIES = 25;

/**
 * Facts of a stage, whatever they are: counts as bars, histograms as charts, lists of records as
 * tables, single values in one table.
 */
export function factsHtml(facts: Readonly<Record<string, PlainJson>>): string {
  const single: [string, string][] = [];
  const parts: string[] = [];
  for (const [name, value] of Object.entries(facts)) {
    const shown = isScalar(value) ? scalar(value) : null;
    if (shown !== null) single.push([words(name), shown]);
    else parts.push(`<h4>${escaped(words(name))}</h4>${partHtml(name, value)}`);
  }
  return (single.length > 0 ? tableOf([], single) : '') + parts.join('');
}

function partHtml(name: string, value: PlainJson): string {
  if (Array.isArray(value)) return listHtml(value as readonly PlainJson[]);
  const record = value as Readonly<Record<string, PlainJson>>;
  const histogram = histogramOf(record);
  if (histogram !== null) return histogramChart(histogram, words(name));
  const entries = Object.entries(record);
  if (entries.length === 0) return '<p>none</p>';
  const table = tableOfAlike(entries);
  if (table !== null) return table;
  const counts = entries.flatMap(([label, count]) =>
    isCount(count) ? [{ label, count: count as number }] : [],
  );
  if (counts.length < entries.length) return `<div class="inner">${factsHtml(record)}</div>`;
  // Nobody knows whether they are parts of a whole.
  const most = counts.toSorted((a, b) => b.count - a.count).slice(0, MOST_ENTRIES);
  return (
    bars(
      most.map((bar) => ({ ...bar, note: '' })),
      1,
    ) + left(counts.length - most.length)
  );
}

/** Records of the same single values as lines of one table; null: they are none. */
function tableOfAlike(entries: readonly (readonly [string, PlainJson])[]): string | null {
  const records = entries.map(([, value]) => value);
  if (records.length < 2 || records.length > MOST_ENTRIES || !records.every(isPlainObject))
    return null;
  const lists = records.map((record) =>
    Object.entries(record as Readonly<Record<string, PlainJson>>),
  );
  const names = lists[0]!.map(([name]) => name);
  const isAlike = lists.every(
    (list) =>
      list.length === names.length &&
      list.every(([name, value], i) => name === names[i] && isScalar(value)),
  );
  if (!isAlike || names.length === 0) return null;
  const rows = lists.map((list, i) => [
    words(entries[i]![0]),
    ...list.map(([, value]) => (typeof value === 'number' ? value : compact(value))),
  ]);
  return tableOf(['', ...names.map(words)], rows);
}

function listHtml(list: readonly PlainJson[]): string {
  if (list.length === 0) return '<p>none</p>';
  const first = list.slice(0, MOST_ENTRIES);
  if (!first.every(isPlainObject)) {
    const text = first.map(compact);
    return `<p dir="auto">${escaped(cut(text.join(', '), ROW_SHOWN))}</p>${left(list.length - first.length)}`;
  }
  const records = first as readonly Readonly<Record<string, PlainJson>>[];
  const names = [...new Set(records.flatMap((record) => Object.keys(record)))].slice(0, 8);
  const rows = records.map((record) =>
    names.map((name) => {
      const value = record[name];
      if (typeof value === 'number') return value;
      return compact(value ?? null);
    }),
  );
  return tableOf(names.map(words), rows) + left(list.length - first.length);
}

/** A value in one cell: "train 24, test 3", or JSON. */
function compact(value: PlainJson): string {
  if (isScalar(value)) return scalar(value);
  if (Array.isArray(value) && value.every(isScalar)) return value.map(scalar).join(', ');
  const entries = isPlainObject(value) ? Object.entries(value) : [];
  const parts = entries.flatMap(([name, item]) => {
    const part = item as PlainJson;
    return isScalar(part) ? [`${words(name)} ${scalar(part)}`] : [];
  });
  return parts.length > 0 && parts.length === entries.length
    ? parts.join(', ')
    : JSON.stringify(value);
}

const left = (more: number) => (more > 0 ? `<p>${brief(more)} more are in report.json.</p>` : '');

function histogramOf(record: Readonly<Record<string, PlainJson>>) {
  const { counts, edges, from, to } = record;
  if (!isNumbers(counts) || counts.length === 0) return null;
  if (isNumbers(edges) && edges.length === counts.length + 1) return { edges, counts };
  if (typeof from !== 'number' || typeof to !== 'number') return null;
  const width = (to - from) / counts.length;
  return { edges: [...counts, 0].map((_, i) => from + i * width), counts };
}

const isNumbers = (value: unknown): value is readonly number[] =>
  Array.isArray(value) && value.every((item) => typeof item === 'number');

const isCount = (value: PlainJson) =>
  typeof value === 'number' && Number.isInteger(value) && value >= 0;

const isScalar = (value: PlainJson): value is string | number | boolean | null =>
  value === null || typeof value !== 'object';

const scalar = (value: string | number | boolean | null): string =>
  typeof value === 'number' ? brief(value) : value === null ? '-' : String(value);

/** rowsWithoutGroup as "rows without group". */
export const words = (name: string): string =>
  name.replace(/([a-z])([A-Z])/g, (_, a: string, b: string) => `${a} ${b.toLowerCase()}`);
