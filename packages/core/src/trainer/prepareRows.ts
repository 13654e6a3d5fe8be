import { Dataset } from '../dataset/dataset.js';
import { PACKING_WINDOW } from '../dataset/pack.js';
import type { TextTokenizer } from '../dataset/tokenizeSft.js';
import type { LanguageModel } from '../models/languageModel.js';
import { AttuneError } from '../util/errors.js';
import type { Logger } from '../util/logger.js';
import type { Objective, RowUse } from './objective.js';

/** Rows for a Trainer: a Dataset, or anything that can be iterated (arrays, generators, streams). */
export type RowSource = Dataset<unknown> | Iterable<unknown> | AsyncIterable<unknown>;

export interface PrepareContext {
  /** What the rows are for, and what messages call them. */
  readonly use: RowUse;
  readonly model: LanguageModel;
  readonly tokenizer: TextTokenizer | null;
  readonly logger: Logger;
}

/** Host work between two looks at the event loop. */
const ROWS_PER_TURN = 512;

/**
 * Every row through the objective's `encode`. Rows with nothing to learn from are left out, and said
 * so once with their count and the first of them.
 *
 * @throws NO_ROWS when no row is left; whatever `encode` throws for a bad row
 */
export async function prepareRows<Example>(
  source: RowSource,
  objective: Objective<Example>,
  { use, model, tokenizer, logger }: PrepareContext,
): Promise<Example[]> {
  const rows = await toDataset(source, use);
  const examples: Example[] = [];
  const counted = new Map<string, { count: number; first: string }>();
  const count = (note: string, origin: string) => {
    const held = counted.get(note);
    if (held) held.count++;
    else counted.set(note, { count: 1, first: origin });
  };
  for (let i = 0; i < rows.length; i++) {
    if (i % ROWS_PER_TURN === ROWS_PER_TURN - 1) await new Promise(setImmediate);
    const origin = rows.origin(i);
    const { example, notes = [] } = objective.encode?.(rows.at(i), {
      model,
      tokenizer,
      origin,
      use,
    }) ?? {
      example: rows.at(i) as Example,
    };
    for (const note of notes) count(note, origin);
    if (example === null) count('nothing to learn from: left out', origin);
    else examples.push(example);
  }
  const report = [...counted].map(
    ([note, { count: n, first }]) =>
      `${n} of ${rows.length} ${use} rows: ${note} (first: ${first})`,
  );
  if (examples.length === 0)
    throw new AttuneError(
      'NO_ROWS',
      rows.length === 0
        ? `there are no ${use} rows.`
        : `none of the ${rows.length} ${use} rows has anything to learn from. ${report.join('; ')}.`,
      {
        remedy:
          rows.length === 0
            ? 'Give a data set with rows.'
            : 'Raise maxLength (prompts alone fill it), or look at the labels of the rows.',
      },
    );
  for (const line of report) logger.warn(line);
  return packWindows(examples, objective, use);
}

/** Window after window, as a stream would be packed. */
function packWindows<Example>(
  examples: readonly Example[],
  objective: Objective<Example>,
  use: RowUse,
): Example[] {
  const packed: Example[] = [];
  for (let start = 0; start < examples.length; start += PACKING_WINDOW) {
    const window = examples.slice(start, start + PACKING_WINDOW);
    for (const example of objective.pack?.(window, use) ?? window) packed.push(example);
  }
  return packed;
}

async function toDataset(source: RowSource, name: string): Promise<Dataset<unknown>> {
  if (source instanceof Dataset) return source;
  if (Symbol.iterator in source) return Dataset.from(source, `${name} rows`);
  const rows: unknown[] = [];
  for await (const row of source) rows.push(row);
  return Dataset.from(rows, `${name} rows`);
}
