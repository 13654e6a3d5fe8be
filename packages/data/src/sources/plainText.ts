import { Buffer } from 'node:buffer';
import type { ReadRow } from '../contract/dataRow.js';
import { lineBlocks } from './lineBlocks.js';
import { type Line, linesOf } from './lines.js';
import type { TextRules } from './options.js';
import { cutOff, type Places, tooLong } from './places.js';
import type { Utf8Text } from './transcode.js';

/** Each line, paragraph or file as `{ text }`. Blank ones are no rows. */
export async function* readPlainText(
  text: Utf8Text,
  places: Places,
  rules: TextRules,
): AsyncGenerator<ReadRow[]> {
  const { maxRowBytes, sampleBy } = rules;
  const held = new HeldLines(places, maxRowBytes);
  for await (const block of lineBlocks(text.chunks, maxRowBytes)) {
    const lines = linesOf(block, text.encoding, maxRowBytes);
    const reads: ReadRow[] = [];
    // What is cut is no row: nobody can see what is missing.
    const cut = block.broken === null ? null : lines.pop();
    for (const line of lines) {
      const isBlank = line.fault === null && line.text.trim() === '';
      if (!isBlank || (sampleBy === 'document' && !held.isEmpty)) held.add(line);
      if (sampleBy === 'line' ? !isBlank : sampleBy === 'paragraph' && isBlank)
        reads.push(...held.take());
    }
    if (block.broken !== null) {
      if (cut) held.add(cut);
      reads.push(held.cut(cutOff(block.broken), block.line));
    }
    yield reads;
  }
  yield held.take();
}

/** Lines that become one row. */
class HeldLines {
  #lines: string[] = [];
  #bytes = 0;
  #first = 0;
  #fault: string | null = null;

  constructor(
    private readonly places: Places,
    private readonly maxBytes: number,
  ) {}

  get isEmpty(): boolean {
    return this.#first === 0;
  }

  add({ text, number, fault }: Line): void {
    if (this.isEmpty) this.#first = number;
    this.#fault ??= fault;
    this.#bytes += Buffer.byteLength(text) + 1;
    // Its beginning is shown, the rest only counted.
    if (this.#bytes <= this.maxBytes + 1 || this.#lines.length === 0) this.#lines.push(text);
  }

  take(): ReadRow[] {
    if (this.isEmpty) return [];
    const bytes = this.#bytes - 1;
    const fault = this.#fault ?? (bytes > this.maxBytes ? tooLong(bytes, this.maxBytes) : null);
    const [line, text] = this.#clear();
    return [
      fault === null ? this.places.row({ text }, line) : this.places.problem(fault, line, text),
    ];
  }

  cut(problem: string, at: number): ReadRow {
    const isEmpty = this.isEmpty;
    const [line, text] = this.#clear();
    return isEmpty ? this.places.problem(problem, at) : this.places.problem(problem, line, text);
  }

  #clear(): [line: number, text: string] {
    const result: [number, string] = [this.#first, this.#lines.join('\n').trimEnd()];
    this.#lines = [];
    this.#bytes = 0;
    this.#first = 0;
    this.#fault = null;
    return result;
  }
}
