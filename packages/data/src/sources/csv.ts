import type { Row } from '@attune/core';
import type { ReadRow } from '../contract/dataRow.js';
import { type CsvRecord, CsvRecords } from './csvRecords.js';
import { lineBlocks } from './lineBlocks.js';
import { type Line, linesOf } from './lines.js';
import type { CsvRules } from './options.js';
import { cutOff, type Places } from './places.js';
import type { Utf8Text } from './transcode.js';

/**
 * Rows of comma-separated values. All values are texts: no type is guessed from the first rows. A
 * row that has more or fewer cells than the header is a problem.
 *
 * Columns without a name are "column_3" by their place. Where several have one name, the later ones
 * are "name_2", "name_3"; that, and a column "__proto__", is one problem in the header's line.
 *
 * @param isTsv whether the name of the file says so
 */
export async function* readCsv(
  text: Utf8Text,
  places: Places,
  rules: CsvRules,
  isTsv: boolean,
): AsyncGenerator<ReadRow[]> {
  const { maxRowBytes } = rules;
  const table = new Table(places, rules.header);
  let records: CsvRecords | null = null;
  const begin = (first: Line): CsvRecords => {
    const quote = rules.quote ?? (isTsv ? false : '"');
    const syntax = { quote: quote === false ? null : quote, maxLength: maxRowBytes };
    const delimiter = rules.delimiter ?? (isTsv ? '\t' : likelyDelimiter(first.text));
    return new CsvRecords({ ...syntax, delimiter });
  };
  for await (const block of lineBlocks(text.chunks, maxRowBytes)) {
    const reads: ReadRow[] = [];
    const lines = linesOf(block, text.encoding, maxRowBytes);
    const cut = block.broken === null ? undefined : lines.pop();
    for (const line of lines) {
      if (records === null) {
        if (line.text.trim() === '') continue;
        records = begin(line);
        // Spreadsheets are told by such a line.
        if (/^sep=.$/.test(line.text)) continue;
      }
      for (const record of records.add(line)) table.read(record, reads);
    }
    if (block.broken !== null) {
      records ??= begin({ text: '', number: block.line, fault: null });
      const record = records.cut(cut, cutOff(block.broken), block.line);
      reads.push(places.problem(record.fault!, record.line, record.raw() || undefined));
    }
    yield reads;
  }
  const reads: ReadRow[] = [];
  for (const record of records?.end() ?? []) table.read(record, reads);
  yield reads;
}

const DELIMITERS = [',', '\t', ';', '|'];

/** The delimiter that a line has most of, outside of quotation marks. */
function likelyDelimiter(line: string): string {
  const told = /^sep=(.)$/.exec(line)?.[1];
  if (told !== undefined) return told;
  const outside = line.replace(/"[^"]*"/g, '');
  const counts = DELIMITERS.map((delimiter) => outside.split(delimiter).length);
  return DELIMITERS[counts.indexOf(Math.max(...counts))]!;
}

/** Makes rows of records. */
class Table {
  #names: readonly string[] | null;
  readonly #hasHeader: boolean;

  constructor(
    private readonly places: Places,
    header: CsvRules['header'],
  ) {
    this.#names = typeof header === 'boolean' ? null : header;
    this.#hasHeader = header === true;
  }

  read(record: CsvRecord, reads: ReadRow[]): void {
    const { cells, line, fault } = record;
    if (fault !== null) {
      reads.push(this.places.problem(fault, line, record.raw()));
      return;
    }
    if (this.#names === null) {
      this.#names = this.#hasHeader ? this.#header(record, reads) : cells.map(numbered);
      if (this.#hasHeader) return;
    }
    const names = this.#names;
    if (cells.length !== names.length) {
      const problem = `a row of ${cells.length} ${cells.length === 1 ? 'cell' : 'cells'} where there are ${names.length} columns${this.#missing(cells.length)}.`;
      reads.push(this.places.problem(problem, line, record.raw()));
      return;
    }
    const row: Record<string, string> = {};
    for (let i = 0; i < names.length; i++) row[names[i]!] = cells[i]!;
    reads.push(this.places.row(row as Row, line));
  }

  /** The first column that a short row lacks. */
  #missing(cells: number): string {
    const name = this.#names![cells];
    return name === undefined ? '' : `; none for ${JSON.stringify(name)}`;
  }

  #header(record: CsvRecord, reads: ReadRow[]): readonly string[] {
    const taken = new Set<string>();
    const renamed: string[] = [];
    const names = record.cells.map((cell, i) => {
      const wanted = cell.trim();
      const plain = wanted === '' || wanted === '__proto__' ? numbered(cell, i) : wanted;
      let name = plain;
      for (let n = 2; taken.has(name); n++) name = `${plain}_${n}`;
      taken.add(name);
      if (wanted !== '' && name !== wanted)
        renamed.push(`${JSON.stringify(wanted)} in column ${i + 1} is read as "${name}"`);
      return name;
    });
    if (renamed.length > 0)
      reads.push(
        this.places.problem(
          `columns need names of their own: ${renamed.join(', ')}.`,
          record.line,
          record.raw(),
        ),
      );
    return names;
  }
}

const numbered = (_cell: string, index: number): string => `column_${index + 1}`;
