import type { Engine } from './engine.js';
import { concat } from './ops/movement.js';
import { writeRows } from './ops/update.js';
import type { Tensor } from './tensor.js';

/** Rows that fit before they must be fetched: a few kilobytes. */
const CAPACITY = 256;

/**
 * A few numbers of each step, kept on the device and read all at once: the one read-back between
 * two logs. The host has every step by itself then, in order, and sums in float64.
 */
export class DeviceTable {
  #table: Tensor | null = null;
  #filled = 0;
  #fetched: number[][] = [];

  constructor(private readonly engine: Engine) {}

  /** One row: the elements of `parts` side by side. Nothing waits, unless the table is full. */
  async add(parts: readonly Tensor[]): Promise<void> {
    await this.makeRoom(parts.reduce((n, part) => n + part.size, 0));
    this.write(parts);
  }

  /** Before `write`: waits for the device where the table is full, or has rows of another width. */
  async makeRoom(width: number): Promise<void> {
    const isOther = this.#table !== null && this.#table.shape[2] !== width;
    if (this.#filled === CAPACITY || isOther) await this.#fetch();
    if (isOther) this.dispose();
  }

  /** `add` where there is room: nothing waits. */
  write(parts: readonly Tensor[]): void {
    this.engine.scope('records', () =>
      this.engine.noGrad(() => {
        const row = concat(
          parts.map((part) => part.reshape(part.size)),
          0,
        );
        this.#table ??= this.engine.keep(this.engine.zeros([1, CAPACITY, row.size]));
        writeRows(this.#table, row.reshape(1, 1, row.size), this.#filled);
      }),
    );
    this.#filled++;
  }

  /** Every row since the last `take`: a wait for the device. */
  async take(): Promise<number[][]> {
    await this.#fetch();
    const rows = this.#fetched;
    this.#fetched = [];
    return rows;
  }

  async #fetch(): Promise<void> {
    if (this.#filled === 0) return;
    const table = this.#table!;
    const width = table.shape[2]!;
    const window = this.engine.window(table, 0, [this.#filled, width]);
    try {
      const values = await window.data();
      for (let i = 0; i < this.#filled; i++)
        this.#fetched.push([...values.subarray(i * width, (i + 1) * width)]);
      this.#filled = 0;
    } finally {
      window.dispose();
    }
  }

  dispose(): void {
    this.#table?.dispose();
    this.#table = null;
  }
}
