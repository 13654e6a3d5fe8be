import { AttuneError } from '@attune/core';
import type { OptionsInput } from '@attune/core/util';
import { z } from 'zod';
import type { DataRow } from '../contract/dataRow.js';
import { defineDataStage, type StageContext } from '../contract/dataStage.js';
import { stageFunction } from '../pipeline/stageFunction.js';
import { columnNumber } from './columnNumber.js';
import { topPlaces } from './topPlaces.js';

const keepTopShape = {
  /** The column that rows are chosen by: "ifd". It holds numbers. */
  by: z.string().min(1).meta({ aka: 'column score key' }),
  /** Share of the n rows that are within `min` and `max`: floor(n * ratio) stay. */
  ratio: z.number().min(0).max(1).optional().meta({ aka: 'fraction rate percent top' }),
  /** Rows that stay, if there are as many; in the place of `ratio`. */
  count: z.int().min(0).optional().meta({ aka: 'k n topk limit' }),
  /** Rows above it are left out first. Default: none are. */
  max: z.number().optional().meta({ aka: 'maximum' }),
  /** Rows below it are left out first. Default: none are. */
  min: z.number().optional().meta({ aka: 'minimum threshold' }),
  /** Which end is the top. Default 'highest'. */
  order: z.enum(['highest', 'lowest']).default('highest').meta({ aka: 'sort direction' }),
};

/** Options of {@link keepTop}. */
export type KeepTopOptions = OptionsInput<typeof keepTopShape>;

/** Leaves the rows with the best scores. See {@link keepTop}. */
export const keepTopStage = defineDataStage({
  name: 'keepTop',
  options: z
    .strictObject(keepTopShape)
    .refine(({ ratio, count }) => ratio === undefined || count === undefined, {
      message: 'give ratio or count, not both',
      path: ['count'],
    }),
  async *run(rows, { by, ratio, count, max, min, order }, context) {
    let scores = new Float64Array(1024);
    let numLeft = 0;
    const within = async function* (): AsyncGenerator<DataRow> {
      for await (const item of withScore(rows, by, context)) {
        const score = columnNumber(item.row, by)!;
        if (max !== undefined && score > max) context.drop(item, 'above max', `${by} ${score}`);
        else if (min !== undefined && score < min)
          context.drop(item, 'below min', `${by} ${score}`);
        else {
          if (numLeft === scores.length) scores = grown(scores);
          scores[numLeft++] = score;
          yield item;
        }
      }
    };
    if (ratio === undefined && count === undefined) {
      yield* within();
      return;
    }
    await using held = await context.hold(within());
    const most = count ?? Math.floor(numLeft * ratio!);
    const isKept = topPlaces(scores.subarray(0, numLeft), most, order);
    let place = 0;
    for await (const item of held) {
      if (isKept[place]) yield item;
      else context.drop(item, 'not in the top', `${by} ${scores[place]}`);
      place++;
    }
  },
});

/**
 * Leaves the rows with the best scores, in the order in which they came: first those above `max` or
 * below `min` go, then all but floor(n * ratio), or `count`, of the n that are left. Among equal
 * scores the first rows stay.
 *
 * Rows are dropped as 'no score' (the column has no number), 'above max', 'below min' and 'not in
 * the top'. Memory holds 9 bytes for each row; the rows wait in a file.
 *
 * @example
 * // The hardest 30 % of the rows whose instruction and answer belong together.
 * await keepTop(scored, { by: 'ifd', ratio: 0.3, max: 1 });
 * @throws DATA_COLUMN where no row has such a number
 */
export const keepTop = stageFunction<KeepTopOptions>(keepTopStage);

/** Rows that have the number. */
async function* withScore(
  rows: AsyncIterable<DataRow>,
  by: string,
  context: StageContext,
): AsyncGenerator<DataRow> {
  let first: DataRow | null = null;
  let hasScore = false;
  for await (const item of rows) {
    first ??= item;
    if (columnNumber(item.row, by) === null) {
      context.drop(item, 'no score');
      continue;
    }
    hasScore = true;
    yield item;
  }
  if (first && !hasScore)
    throw new AttuneError(
      'DATA_COLUMN',
      `keepTop: no row has a number in the column ${JSON.stringify(by)}.`,
      {
        remedy: `Run the stage that adds it before. The first row has the columns ${Object.keys(
          first.row,
        )
          .slice(0, 20)
          .map((name) => JSON.stringify(name))
          .join(', ')}.`,
      },
    );
}

function grown(scores: Float64Array): Float64Array<ArrayBuffer> {
  const larger = new Float64Array(2 * scores.length);
  larger.set(scores);
  return larger;
}
