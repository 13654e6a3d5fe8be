import type { DataRow, RowOrigin, SplitName } from '../contract/dataRow.js';
import { IntList } from './growing.js';

const SPLITS: readonly (SplitName | undefined)[] = [undefined, 'train', 'validation', 'test'];

/** Where rows came from, by their number, in 16 bytes each. */
export class SeenRows {
  readonly #files: string[] = [];
  readonly #fileNumbers = new Map<string, number>();
  readonly #file = new IntList();
  readonly #row = new IntList();
  readonly #line = new IntList();
  readonly #split = new IntList();

  get length(): number {
    return this.#row.length;
  }

  /** @returns the number of the row, from 0 on */
  add({ origin: { file, row, line = 0 }, split }: Pick<DataRow, 'origin' | 'split'>): number {
    let number = this.#fileNumbers.get(file);
    if (number === undefined) {
      number = this.#files.length;
      this.#fileNumbers.set(file, number);
      this.#files.push(file);
    }
    this.#file.push(number);
    this.#row.push(row);
    this.#line.push(line);
    this.#split.push(SPLITS.indexOf(split));
    return this.#row.length - 1;
  }

  originOf(number: number): RowOrigin {
    const line = this.#line.values[number]! >>> 0;
    return {
      file: this.#files[this.#file.values[number]!]!,
      row: this.#row.values[number]! >>> 0,
      ...(line > 0 && { line }),
    };
  }

  splitOf(number: number): SplitName | undefined {
    return SPLITS[this.#split.values[number]!];
  }
}
