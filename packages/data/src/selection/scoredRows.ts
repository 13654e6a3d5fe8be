import { AttuneError, type Row } from '@attune/core';
import type { DataRow } from '../contract/dataRow.js';
import type { StageContext } from '../contract/dataStage.js';
import { roomFor } from '../dedup/growing.js';
import { columnNumbers } from './columnNumber.js';

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
 * The product of the numbers in the columns; of lists, one number for each turn, the sum over the
 * turns of the products: DEITA's score of a conversation. 0 without columns; words: what is
 * missing.
 */
function scoreOf(row: Row, columns: readonly string[]): number | string {
  let products: readonly number[] = [];
  for (const [i, column] of columns.entries()) {
    const values = columnNumbers(row, column);
    if (values === null) return `no number in ${JSON.stringify(column)}`;
    if (i > 0 && values.length !== products.length)
      return `${values.length} numbers in ${JSON.stringify(column)}, ${products.length} in ${JSON.stringify(columns[0])}`;
    products = i === 0 ? values : products.map((product, turn) => product * values[turn]!);
  }
  return products.reduce((sum, product) => sum + product, 0);
}

/**
 * Rows that have a number in each of the columns, with their {@link scoreOf}; the others are
 * dropped as 'no score'.
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
    const score = scoreOf(item.row, columns);
    if (typeof score === 'string') {
      context.drop(item, 'no score', score);
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
