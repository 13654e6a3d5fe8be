import { Dataset, IterableDataset } from '@attune/core';
import type { OriginRow, RowSource } from '@attune/core/text';

type Make<R> = (batch: readonly OriginRow<unknown>[], index: number) => readonly OriginRow<R>[];

/**
 * Other rows made of some, so many at a time: at once of a data set or an array, while they are
 * read of anything else.
 *
 * @param make called with at most `size` rows, in their order, and the number of the batch
 */
export function mapBatches<R>(rows: RowSource, size: number, make: Make<R>): RowSource {
  if (rows instanceof IterableDataset)
    return IterableDataset.fromPlaced((epoch) => lazily(rows.rows(epoch), size, make));
  if (!(rows instanceof Dataset) && !Array.isArray(rows))
    return (async function* () {
      for await (const { row } of lazily(placed(rows), size, make)) yield row;
    })();
  const source = rows instanceof Dataset ? rows : Dataset.from<unknown>(rows);
  const made: OriginRow<R>[] = [];
  for (let start = 0; start < source.length; start += size) {
    const batch: OriginRow<unknown>[] = [];
    for (let i = start; i < Math.min(start + size, source.length); i++)
      batch.push({ row: source.at(i), origin: source.origin(i) });
    for (const one of make(batch, start / size)) made.push(one);
  }
  return Dataset.from(
    made.map(({ row }) => row),
    (i) => made[i]!.origin,
  );
}

async function* lazily<R>(
  rows: AsyncIterable<OriginRow<unknown>>,
  size: number,
  make: Make<R>,
): AsyncGenerator<OriginRow<R>> {
  let batch: OriginRow<unknown>[] = [];
  let index = 0;
  for await (const one of rows) {
    if (batch.push(one) < size) continue;
    yield* make(batch, index++);
    batch = [];
  }
  if (batch.length > 0) yield* make(batch, index);
}

async function* placed(
  rows: Iterable<unknown> | AsyncIterable<unknown>,
): AsyncGenerator<OriginRow<unknown>> {
  let i = 0;
  for await (const row of rows) yield { row, origin: `rows[${i++}]` };
}
