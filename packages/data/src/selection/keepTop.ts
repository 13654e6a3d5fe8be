import type { OptionsInput } from '@attune/core/util';
import { z } from 'zod';
import type { DataRow } from '../contract/dataRow.js';
import { defineDataStage } from '../contract/dataStage.js';
import { stageFunction } from '../pipeline/stageFunction.js';
import { ScoreList, scoredRows } from './scoredRows.js';
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
    })
    .refine(({ min, max }) => !(min! > max!), {
      message: 'no number is at least min and at most max',
      path: ['min'],
    }),
  async *run(rows, { by, ratio, count, max, min, order }, context) {
    const scores = new ScoreList();
    const within = async function* (): AsyncGenerator<DataRow> {
      for await (const { item, score } of scoredRows(rows, [by], context, 'keepTop')) {
        if (max !== undefined && score > max) context.drop(item, 'above max', `${by} ${score}`);
        else if (min !== undefined && score < min)
          context.drop(item, 'below min', `${by} ${score}`);
        else {
          scores.push(score);
          yield item;
        }
      }
    };
    if (ratio === undefined && count === undefined) {
      yield* within();
      return;
    }
    await using held = await context.hold(within());
    const { values } = scores;
    const most = count ?? Math.floor(values.length * ratio!);
    const isKept = topPlaces(values, most, order);
    let place = 0;
    for await (const item of held) {
      if (isKept[place]) yield item;
      else context.drop(item, 'not in the top', `${by} ${values[place]}`);
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
