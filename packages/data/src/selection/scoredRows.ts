import { AttuneError } from '@attune/core';
import type { DataRow } from '../contract/dataRow.js';
import type { StageContext } from '../contract/dataStage.js';
import { roomFor } from '../dedup/growing.js';
import { columnNumber } from './columnNumber.js';

/** A row with what it is chosen by. */
export interface ScoredRow {
  readonly item: DataRow;
  readonly score: number;
}

/** Scores of rows, as they pass. */
export class ScoreList {
  #scores = new Float64Array(1024);
  #length = 0;

  push(score: number): void {
    this.#scores = roomFor(this.#scores, this.#length + 1);
    this.#scores[this.#length++] = score;
  }

  get values(): Float64Array {
    return this.#scores.subarray(0, this.#length);
  }
}

/**
 * Rows that have a number in each of the columns, with the product of these numbers; the others are
 * dropped as 'no score'. Without columns every row has 0.
 *
 * @throws DATA_COLUMN where no row has them
 */
export async function* scoredRows(
  rows: AsyncIterable<DataRow>,
  columns: readonly string[],
  context: StageContext,
  where: string,
): AsyncGenerator<ScoredRow> {
  let first: DataRow | null = null;
  let hasScore = false;
  for await (const item of rows) {
    first ??= item;
    let score = columns.length === 0 ? 0 : 1;
    let missing: string | null = null;
    for (const column of columns) {
      const value = columnNumber(item.row, column);
      if (value === null) missing ??= column;
      else score *= value;
    }
    if (missing !== null) {
      context.drop(item, 'no score', `no number in ${JSON.stringify(missing)}`);
      continue;
    }
    hasScore = true;
    yield { item, score };
  }
  if (first && !hasScore) throw noScore(first, columns, where);
}

function noScore({ row }: DataRow, columns: readonly string[], where: string): AttuneError {
  const quoted = (names: readonly string[]) => names.map((name) => JSON.stringify(name)).join(', ');
  const found = Object.keys(row).slice(0, 20);
  return new AttuneError(
    'DATA_COLUMN',
    `${where}: no row has a number in ${columns.length > 1 ? 'each of the columns' : 'the column'} ${quoted(columns)}.`,
    {
      remedy: `Run the stage that adds it before. The first row has the columns ${quoted(found)}.`,
    },
  );
}
