import type { Row } from '@attune/core';
import type { OptionsInput } from '@attune/core/util';
import { z } from 'zod';
import { defineDataStage } from '../contract/dataStage.js';
import type { RowsInput } from '../contract/rowsInput.js';
import { type StageRun, type StageServices, stageFunction } from '../pipeline/stageFunction.js';

const filterShape = {
  /** Whether a row stays. */
  keep: z.custom<(row: Row) => boolean | Promise<boolean>>(
    (value) => typeof value === 'function',
    'expected a function of a row',
  ),
  /** Under which the others are counted. Default "filtered". */
  reason: z.string().min(1).default('filtered'),
};

/** Options of {@link filter}. */
export type FilterOptions = OptionsInput<typeof filterShape>;

/** Leaves out the rows that a function refuses. */
export const filterStage = defineDataStage({
  name: 'filter',
  options: z.strictObject(filterShape),
  async *run(rows, { keep, reason }, context) {
    for await (const item of rows)
      if (await keep(item.row)) yield item;
      else context.drop(item, reason);
  },
});

const run = stageFunction<FilterOptions>(filterStage);

/** The options that a function alone stands for. */
export const filterOptionsOf = (options: FilterOptions | FilterOptions['keep']): FilterOptions =>
  typeof options === 'function' ? { keep: options } : options;

/**
 * Leaves out the rows that a function refuses.
 *
 * @param options the function, or `{ keep, reason }`
 * @example for await (const row of filter(rows, (row) => row.language === 'en')) use(row);
 */
export const filter = (
  rows: RowsInput,
  options: FilterOptions | FilterOptions['keep'],
  services?: StageServices,
): StageRun => run(rows, filterOptionsOf(options), services);
