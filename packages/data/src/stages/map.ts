import type { Row } from '@attune/core';
import type { OptionsInput } from '@attune/core/util';
import { z } from 'zod';
import { defineDataStage } from '../contract/dataStage.js';
import type { RowsInput } from '../contract/rowsInput.js';
import { type StageRun, type StageServices, stageFunction } from '../pipeline/stageFunction.js';

const mapShape = {
  /** The row that takes the place of a row. */
  change: z
    .custom<(row: Row) => Row | Promise<Row>>(
      (value) => typeof value === 'function',
      'expected a function of a row',
    )
    .meta({ aka: 'function fn' }),
};

/** Options of {@link map}. */
export type MapOptions = OptionsInput<typeof mapShape>;

/** Changes each row by a function. */
export const mapStage = defineDataStage({
  name: 'map',
  options: z.strictObject(mapShape),
  async *run(rows, { change }) {
    for await (const item of rows) yield { ...item, row: await change(item.row) };
  },
});

const run = stageFunction<MapOptions>(mapStage);

/** The options that a function alone stands for. */
export const mapOptionsOf = (options: MapOptions | MapOptions['change']): MapOptions =>
  typeof options === 'function' ? { change: options } : options;

/**
 * Changes each row by a function.
 *
 * @param options the function, or `{ change }`
 * @example await map(rows, ({ question, answer }) => ({ prompt: question, completion: answer }));
 */
export const map = (
  rows: RowsInput,
  options: MapOptions | MapOptions['change'],
  services?: StageServices,
): StageRun => run(rows, mapOptionsOf(options), services);
