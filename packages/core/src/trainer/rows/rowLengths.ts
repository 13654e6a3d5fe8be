import { LENGTH_COLUMN } from '../../training/arguments/choices.js';
import { AttuneError } from '../../util/errors.js';

/**
 * Lengths that rows bring with them, for `groupByLength`: those of a column that every row has.
 * Where no row has it, lengths are counted in tokens.
 */
export class RowLengths {
  readonly #lengths = new WeakMap<object, number>();
  #without: string | null = null;
  #some = false;

  constructor(private readonly column: string) {}

  /** @throws ROW_LENGTH for a length that is none */
  note(row: unknown, origin: string, example: unknown): void {
    const length =
      typeof row === 'object' && row !== null
        ? (row as Readonly<Record<string, unknown>>)[this.column]
        : undefined;
    if (length === undefined || length === null) {
      this.#without ??= origin;
      return;
    }
    if (typeof length !== 'number' || !Number.isFinite(length))
      throw new AttuneError(
        'ROW_LENGTH',
        `${origin}: "${this.column}" is ${JSON.stringify(length)}, by which rows are to be grouped.`,
        { remedy: 'Give numbers, or lengthColumnName: null to count tokens.' },
      );
    this.#some = true;
    this.#lengths.set(example as object, length);
  }

  /**
   * When all rows have been noted.
   *
   * @throws ROW_LENGTH when some have a length and some have none
   */
  check(): void {
    if (this.#without !== null && (this.#some || this.column !== LENGTH_COLUMN))
      throw new AttuneError(
        'ROW_LENGTH',
        `${this.#without} has no "${this.column}", by which rows are to be grouped.`,
        { remedy: 'Give every row one, or lengthColumnName: null to count tokens.' },
      );
  }

  of(example: unknown): number | undefined {
    return this.#lengths.get(example as object);
  }
}
