import type { IterableDataset } from '../../dataset/iterableDataset.js';
import type { ExampleStream } from '../../dataset/loader.js';
import { PACKING_WINDOW } from '../../text/pack.js';
import type { RowRules } from '../../training/rowRules.js';
import { prefetch, slices } from '../../util/prefetch.js';
import { encodeRow, isPacked, noRows, type PrepareContext } from './encodeRow.js';

/**
 * The rows of a stream through `encode` and `pack` while they are used. Nothing is held but what is
 * being packed: one window, and the one after it, which is filled while the device works.
 */
export class RowStream<Example> implements ExampleStream<Example> {
  readonly #noted = new Set<string>();

  constructor(
    private readonly rows: IterableDataset<unknown>,
    private readonly rules: RowRules<Example>,
    private readonly context: PrepareContext,
  ) {}

  /**
   * @throws NO_ROWS when an epoch has nothing to learn from; whatever `encode` throws for a bad row
   */
  async *examples(epoch: number): AsyncGenerator<Example> {
    const { rules, context } = this;
    if (!isPacked(rules, context.use)) yield* this.#encoded(epoch);
    else
      for await (const window of prefetch(this.#windows(epoch), 1))
        for (const example of rules.pack!(window)) yield example;
  }

  async *#windows(epoch: number): AsyncGenerator<Example[]> {
    let window: Example[] = [];
    for await (const example of this.#encoded(epoch)) {
      if (window.push(example) < PACKING_WINDOW) continue;
      yield window;
      window = [];
    }
    if (window.length > 0) yield window;
  }

  async *#encoded(epoch: number): AsyncGenerator<Example> {
    const { rules, context } = this;
    const pause = slices();
    let read = 0;
    let used = 0;
    for await (const { row, origin } of this.rows.rows(epoch)) {
      await pause();
      read++;
      const example = encodeRow(row, origin, rules, context, this.#note);
      if (example === null) continue;
      used++;
      yield example;
    }
    if (used > 0) return;
    const { title } = context;
    throw noRows(
      read === 0
        ? `the stream of ${title} is empty.`
        : `none of the ${read} rows of the stream of ${title} has anything to learn from.`,
      read,
    );
  }

  readonly #note = (text: string, origin: string): void => {
    if (this.#noted.has(text)) return;
    this.#noted.add(text);
    const { title, logger } = this.context;
    logger.warn(`${title}: ${text} (first: ${origin}; not counted in a stream)`);
  };
}
