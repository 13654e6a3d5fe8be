import { Dataset } from '../../dataset/dataset.js';
import { IterableDataset } from '../../dataset/iterableDataset.js';
import type { Examples } from '../../dataset/loader.js';
import type { RowSource } from '../../dataset/rowSource.js';
import { PACKING_WINDOW } from '../../text/pack.js';
import type { RowRules } from '../../training/rowRules.js';
import { slices } from '../../util/prefetch.js';
import { encodeRow, isPacked, noRows, type PrepareContext } from './encodeRow.js';
import { RowStream } from './rowStream.js';

/**
 * Every row through `encode` and `pack` of its rules. Rows with nothing to learn from are left out,
 * and said so once with their count and the first of them. The rows of a stream go through while
 * they are used: its notes come with the first such row.
 *
 * @throws NO_ROWS when no row is left, or what the preflight refuses them for; whatever `encode`
 *   throws for a bad row
 */
export async function prepareRows<Example>(
  source: RowSource,
  rules: RowRules<Example>,
  context: PrepareContext,
): Promise<Examples<Example>> {
  if (source instanceof IterableDataset) {
    if (context.preflight) context.preflight.isStart = true;
    return new RowStream(source, rules, context);
  }
  const { use, title, logger } = context;
  const rows = await toDataset(source, title);
  const examples: Example[] = [];
  const counted = new Map<string, { count: number; first: string }>();
  const note = (text: string, origin: string) => {
    const held = counted.get(text);
    if (held) held.count++;
    else counted.set(text, { count: 1, first: origin });
  };
  const pause = slices();
  for (let i = 0; i < rows.length; i++) {
    await pause();
    const example = encodeRow(rows.at(i), rows.origin(i), rules, context, note);
    if (example === null) continue;
    context.lengths?.note(rows.at(i), rows.origin(i), example);
    examples.push(example);
  }
  context.lengths?.check();
  const report = [...counted].map(
    ([text, { count, first }]) => `${count} of ${rows.length} ${title}: ${text} (first: ${first})`,
  );
  if (examples.length === 0) {
    const refusal = rules.isPreflightOn === false ? null : context.preflight?.report().refusal();
    if (refusal) throw refusal;
    throw noRows(
      rows.length === 0
        ? `there are no ${title}.`
        : `none of the ${rows.length} ${title} has anything to learn from. ${report.join('; ')}.`,
      rows.length,
    );
  }
  for (const line of report) logger.warn(line);
  if (!isPacked(rules, use)) return examples;
  // Window after window, as a stream is packed.
  const packed: Example[] = [];
  for (let start = 0; start < examples.length; start += PACKING_WINDOW)
    for (const example of rules.pack!(examples.slice(start, start + PACKING_WINDOW)))
      packed.push(example);
  return packed;
}

async function toDataset(source: RowSource, title: string): Promise<Dataset<unknown>> {
  if (source instanceof Dataset) return source;
  if (Symbol.iterator in source) return Dataset.from(source, title);
  const rows: unknown[] = [];
  for await (const row of source) rows.push(row);
  return Dataset.from(rows, title);
}
