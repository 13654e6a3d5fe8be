import type { Line } from './lines.js';

/** Cells of one record, or why it is none. */
export interface CsvRecord {
  readonly cells: readonly string[];
  /** The line that it begins on, from 1 on. */
  readonly line: number;
  /** A sentence; null: it is a record. */
  readonly fault: string | null;
  /** Its lines as they are. */
  raw(): string;
}

export interface CsvSyntax {
  readonly delimiter: string;
  /** Null: cells are never within quotation marks. */
  readonly quote: string | null;
  /** Characters of the longest record. */
  readonly maxLength: number;
}

/** How often as much as one longest record is read again. */
const REREADS = 8;

/**
 * Puts records together from lines, as RFC 4180 has them: a cell in quotation marks may go over
 * lines. A quotation mark that is not closed would swallow all that follows: its line is a fault of
 * its own then, and the lines behind it are read again.
 */
export class CsvRecords {
  #cells: string[] = [];
  #cell = '';
  #inQuote = false;
  #fault: string | null = null;
  /** The lines of the record whose quotation mark is open. */
  #held: Line[] = [];
  #heldLength = 0;
  #rereadLeft: number;

  constructor(private readonly syntax: CsvSyntax) {
    this.#rereadLeft = REREADS * syntax.maxLength;
  }

  /** The records that are complete with a line. */
  *add(line: Line): Generator<CsvRecord> {
    const { delimiter, quote, maxLength } = this.syntax;
    if (!this.#inQuote) {
      if (line.fault !== null) return yield recordOf([], [line], line.fault);
      const { text } = line;
      if (text.trim() === '' && !text.includes(delimiter)) return;
      if (quote === null || !text.includes(quote))
        return yield recordOf(text.split(delimiter), [line], null);
    }
    this.#held.push(line);
    this.#heldLength += line.text.length + 1;
    this.#fault ??= line.fault;
    this.#read(line.text, delimiter, quote!);
    if (!this.#inQuote) yield this.#take();
    else if (this.#heldLength > maxLength) yield* this.#unclosed();
  }

  /** What is left at the end of the file. */
  *end(): Generator<CsvRecord> {
    while (this.#inQuote) yield* this.#unclosed();
  }

  /** What is left where the file is cut off. */
  cut(line: Line | undefined, fault: string, at: number): CsvRecord {
    const lines = [...this.#held, ...(line ? [line] : [])];
    this.#inQuote = false;
    this.#held = [];
    return recordOf([], lines.length > 0 ? lines : [{ text: '', number: at, fault }], fault);
  }

  #read(text: string, delimiter: string, quote: string): void {
    for (let at = 0; ; ) {
      if (!this.#inQuote) {
        if (text[at] !== quote) {
          const end = text.indexOf(delimiter, at);
          this.#cells.push(end < 0 ? text.slice(at) : text.slice(at, end));
          if (end < 0) return;
          at = end + 1;
          continue;
        }
        this.#inQuote = true;
        at++;
      }
      const end = text.indexOf(quote, at);
      if (end < 0) {
        this.#cell += `${text.slice(at)}\n`;
        return;
      }
      this.#cell += text.slice(at, end);
      at = end + 1;
      if (text[at] === quote) {
        this.#cell += quote;
        at++;
        continue;
      }
      this.#inQuote = false;
      this.#cells.push(this.#cell);
      this.#cell = '';
      if (at === text.length) return;
      if (text[at] !== delimiter) {
        this.#fault ??= `${JSON.stringify(text[at])} behind the quotation mark that ends a cell, at column ${at + 1}; a quotation mark within a cell is written twice.`;
        return;
      }
      at++;
    }
  }

  #take(): CsvRecord {
    const record = recordOf(this.#cells, this.#held, this.#fault);
    this.#reset();
    return record;
  }

  #reset(): void {
    this.#cells = [];
    this.#cell = '';
    this.#inQuote = false;
    this.#fault = null;
    this.#held = [];
    this.#heldLength = 0;
  }

  *#unclosed(): Generator<CsvRecord> {
    const [first, ...rest] = this.#held as [Line, ...Line[]];
    this.#rereadLeft -= this.#heldLength;
    const fault = 'a quotation mark opens a cell and none closes it.';
    this.#reset();
    if (this.#rereadLeft < 0)
      return yield recordOf(
        [],
        [first, ...rest],
        `${fault} Here and before, so often that its ${rest.length + 1} lines were not read one by one.`,
      );
    yield recordOf([], [first], first.fault ?? fault);
    for (const line of rest) yield* this.add(line);
  }
}

const recordOf = (
  cells: readonly string[],
  lines: readonly Line[],
  fault: string | null,
): CsvRecord => ({
  cells,
  line: lines[0]!.number,
  fault,
  raw: () => lines.map(({ text }) => text).join('\n'),
});
