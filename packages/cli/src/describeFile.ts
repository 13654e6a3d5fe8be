import { displayWidth } from '@attune/core/util';
import { type FileInspection, formatOrigin } from '@attune/data';

/** Columns of a terminal that a line takes at most. */
const WIDTH = 80;
const COLUMNS_SHOWN = 30;
const FIELDS_SHOWN = 12;
/** Lines that a problem or a column takes at most. */
const LINES_SHOWN = 4;

/** What is in a file, for a terminal of 80 columns. */
export function describeFile(inspection: FileInspection): string {
  const { file, format, rows, problems, duplicates, withoutText, firstProblems } = inspection;
  const facts: [string, string][] = [
    ['format', formatText(format)],
    ['rows', rows === 0 ? 'none' : grouped(rows)],
    ['problems', problems === 0 ? 'none' : `${counted(problems, 'place is', 'places are')} no row`],
    ['schema', schemaText(inspection)],
    ['languages', languageText(inspection)],
    ['characters', lengthText(inspection.characters)],
    ...(inspection.tokens ? [['tokens', lengthText(inspection.tokens)] as [string, string]] : []),
    [
      'duplicates',
      rows === 0
        ? '-'
        : duplicates === 0
          ? 'no two rows have the same text'
          : `${counted(duplicates, 'row repeats', 'rows repeat')} the text of another (${percent(duplicates, rows)})`,
    ],
    ...(withoutText > 0
      ? [
          [
            'without text',
            `${counted(withoutText, 'row', 'rows')} (${percent(withoutText, rows)})`,
          ] as [string, string],
        ]
      : []),
  ];
  const parts = [
    [shown(file), ...facts.map(([name, value]) => `  ${name.padEnd(14)}${value}`)],
    columnLines(inspection),
    firstProblems.length === 0
      ? []
      : [
          heading('Problems', firstProblems.length, problems),
          ...firstProblems.flatMap(({ origin, problem }) =>
            wrapped(`  ${placeOf(inspection, origin)}  `, shown(problem)),
          ),
        ],
    rowLines(inspection),
  ];
  return parts
    .filter((lines) => lines.length > 0)
    .map((lines) => lines.map((line) => cut(line, WIDTH)).join('\n'))
    .join('\n\n');
}

const formatText = ({ name, compression, encoding }: FileInspection['format']): string =>
  [
    name,
    ...(encoding !== null && encoding !== 'utf-8' ? [encoding] : []),
    ...(compression === null ? [] : [`compressed by ${compression}`]),
  ].join(', ');

function schemaText({ schemas, rows }: FileInspection): string {
  const all = Object.entries(schemas) as [string, number][];
  if (all.length === 0) return '-';
  if (all.length === 1) return all[0]![0] === 'none' ? 'none that is known' : all[0]![0];
  return all
    .map(([name, count]) => `${name === 'none' ? 'no known one' : name} ${percent(count, rows)}`)
    .join(', ');
}

function languageText({ languages, rows }: FileInspection): string {
  const all = Object.entries(languages);
  if (all.length === 0) return '-';
  const looked = all.reduce((sum, [, count]) => sum + count, 0);
  const shares = all
    .slice(0, 5)
    .map(([language, count]) => `${language} ${percent(count, looked)}`)
    .concat(all.length > 5 ? [`${all.length - 5} more`] : []);
  return shares.join(', ') + (looked < rows ? ` (of ${grouped(looked)} rows)` : '');
}

function lengthText(lengths: FileInspection['characters']): string {
  if (lengths === null) return '-';
  const { least, mean, median, p95, largest } = lengths;
  return `${grouped(least)} to ${grouped(largest)}, mean ${grouped(Math.round(mean))}, median ${grouped(median)}, 95 % up to ${grouped(p95)}`;
}

function columnLines({ columns, rows, hasMoreColumns }: FileInspection): string[] {
  if (columns.length === 0) return [];
  const some = columns.slice(0, COLUMNS_SHOWN);
  const names = some.map(({ name }) => cut(shown(name), 28));
  const width = Math.max(8, ...names.map(displayWidth));
  const lines = some.flatMap(({ types, nulls, absent }, i) => {
    const all = Object.entries(types) as [string, number][];
    const text = all
      .map(([type, count]) => (all.length === 1 ? type : `${type} ${percent(count, rows)}`))
      .join(', ');
    const gaps = [
      ...(nulls > 0 ? [`null ${percent(nulls, rows)}`] : []),
      ...(absent > 0 ? [`absent ${percent(absent, rows)}`] : []),
    ];
    const facts = [text === '' ? [] : text, gaps].flat().join(', ');
    return wrapped(`  ${padded(names[i]!, width)}  `, facts);
  });
  const total = hasMoreColumns ? `more than ${columns.length}` : grouped(columns.length);
  return [
    some.length < columns.length ? `Columns, ${some.length} of ${total}` : 'Columns',
    ...lines,
  ];
}

function rowLines(inspection: FileInspection): string[] {
  const { firstRows, rows } = inspection;
  if (firstRows.length === 0) return [];
  const lines = firstRows.flatMap(({ row, origin }) => {
    const fields = Object.entries(row);
    const some = fields.slice(0, FIELDS_SHOWN);
    const names = some.map(([name]) => cut(shown(name), 20));
    const width = Math.max(0, ...names.map(displayWidth));
    return [
      `  ${placeOf(inspection, origin)}`,
      ...some.map(([, value], i) => `    ${padded(names[i]!, width)}  ${shown(textOf(value))}`),
      ...(fields.length > some.length
        ? [`    and ${fields.length - some.length} more columns`]
        : []),
    ];
  });
  return [heading('Rows', firstRows.length, rows), ...lines];
}

const heading = (name: string, some: number, all: number): string =>
  some < all ? `${name}, the first ${some} of ${grouped(all)}` : name;

/** "line 12", or without lines "row 11": the file is known. */
function placeOf({ file }: FileInspection, origin: FileInspection['firstRows'][number]['origin']) {
  const place = formatOrigin(origin);
  if (!place.startsWith(file)) return shown(place);
  return origin.line === undefined ? `row ${origin.row}` : `line ${origin.line}`;
}

/** A value on one line; only its beginning is shown. */
function textOf(value: unknown): string {
  if (typeof value === 'string') return value.slice(0, 4 * WIDTH);
  const json = JSON.stringify(value, (_key, item) => (typeof item === 'bigint' ? `${item}` : item));
  return (json ?? 'undefined').slice(0, 4 * WIDTH);
}

/** Text of a file on one line: nothing of it steers the terminal. */
const shown = (text: string): string =>
  text
    .replace(/\r\n|\r|\n/g, '⏎')
    .replace(/\t/g, ' ')
    .replace(
      /[\p{Cc}\p{Cs}\u202a-\u202e\u2066-\u2069]/gu,
      (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
    );

const padded = (text: string, width: number): string =>
  text + ' '.repeat(Math.max(0, width - displayWidth(text)));

/** A text behind its head, on as many lines as it takes, up to four; they begin side by side. */
function wrapped(head: string, text: string): string[] {
  const indent = ' '.repeat(displayWidth(head));
  const lines: string[] = [];
  let line = head;
  for (const word of text.split(' ')) {
    const isFirst = line === head;
    if (!isFirst && displayWidth(`${line} ${word}`) > WIDTH && lines.length < LINES_SHOWN - 1) {
      lines.push(line);
      line = indent + word;
    } else line += isFirst ? word : ` ${word}`;
  }
  return [...lines, line];
}

/** The beginning of a text that is at most `columns` wide. */
function cut(text: string, columns: number): string {
  // Ten times as many characters as columns: those without a width are few.
  if (text.length <= columns * 10 && displayWidth(text) <= columns) return text;
  let width = 1;
  let kept = '';
  for (const c of text) {
    width += displayWidth(c);
    if (width > columns) break;
    kept += c;
  }
  return `${kept}…`;
}

/** "1 row", "2 rows". */
const counted = (n: number, one: string, several: string): string =>
  `${grouped(n)} ${n === 1 ? one : several}`;

const grouped = (n: number): string => n.toLocaleString('en-US');

function percent(part: number, whole: number): string {
  const share = (100 * part) / whole;
  return share < 0.05 ? '< 0.1 %' : `${Number(share.toFixed(1))} %`;
}
