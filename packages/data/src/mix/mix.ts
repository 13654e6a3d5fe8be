import { AttuneError } from '@attune/core';
import { describeValue, type PlainJson, parseOptions } from '@attune/core/util';
import { z } from 'zod';
import type { DataRow } from '../contract/dataRow.js';
import { defineDataStage } from '../contract/dataStage.js';
import { type StageRun, type StageServices, stageFunction } from '../pipeline/stageFunction.js';
import {
  type MixOptions,
  type MixSource,
  mixSchema,
  mixStageSchema,
  ownSchema,
} from './mixOptions.js';
import { type MixReport, mixRows } from './mixRows.js';

/** Mixes sources into rows, with a share of the result for each. */
export const mixStage = defineDataStage({
  name: 'mix',
  options: mixStageSchema,
  inputs: ({ sources }) => sources.map(({ rows }) => rows),
  run: (rows, options, context) => mixRows(rows, options, context),
});

/** What a mixture needs to go on where it was: plain JSON. */
export interface MixState {
  readonly version: 1;
  /** Rows that were given. */
  readonly given: number;
  /** The options that it belongs to, without rows. */
  readonly plan: PlainJson;
}

/** A mixture at work: iterate over it, or await it. */
export interface MixRun extends StageRun<MixReport> {
  /** Where it stands. Give it back as `services.from`, with the same sources, to go on. */
  state(): MixState;
}

/** What {@link mix} runs with beside its options. */
export interface MixServices extends StageServices {
  /** Goes on behind the rows that were given before this state was taken. */
  readonly from?: MixState | null;
}

/**
 * Mixes rows of several sources. The same options and seed give the same rows in the same order.
 * Sources are streamed: counted in a first pass, where sizes are not given, and read as often as
 * shares ask for. `interleave` counts nothing.
 *
 * @example
 * const rows = await mix([
 *   { name: 'task', rows: fromJsonl('task.jsonl') },
 *   { name: 'general', rows: fromJsonl('general.jsonl'), ratio: 0.08 },
 * ]);
 * @throws DATA_MIX_SHARES, DATA_MIX_EMPTY, DATA_MIX_SHORT, DATA_MIX_CHANGED, DATA_MIX_STATE,
 *   DATA_COLUMN_TAKEN while rows are read
 */
export function mix(
  sources: readonly MixSource[],
  options: MixOptions = {},
  { from = null, ...services }: MixServices = {},
): MixRun {
  const parsed = parseOptions(mixSchema, { ...options, sources }, { where: 'mix' });
  const seed = parsed.seed ?? services.seed ?? 0;
  const plan = planOf({ ...parsed, seed });
  if (from !== null) checkState(from, plan);
  let given = from?.given ?? 0;
  const stage = defineDataStage({
    name: 'mix',
    options: mixSchema,
    async *run(_rows, asked, context) {
      let skipped = from?.given ?? 0;
      // Rows that were given before this run are drawn again, and not counted again.
      const added = (row: DataRow, reason: string) => {
        if (skipped === 0) context.added(row, reason);
      };
      const all = mixRows(null, { ...asked, own: ownSchema.parse({}) }, { ...context, added });
      for await (const row of all) {
        if (skipped > 0) skipped--;
        else {
          given++;
          yield row;
        }
      }
      if (skipped > 0)
        throw stateError(
          `the state is behind ${from!.given} rows, and the mixture has ${from!.given - skipped}.`,
        );
    },
  });
  const run = stageFunction<MixOptions & { sources: readonly MixSource[] }, MixReport>(stage)(
    [],
    { ...options, sources },
    { ...services, seed },
  );
  return {
    state: () => ({ version: 1, given, plan }),
    [Symbol.asyncIterator]: () => run[Symbol.asyncIterator](),
    // biome-ignore lint/suspicious/noThenProperty: it is awaited.
    then: (onDone, onFailed) => run.then(onDone, onFailed),
  };
}

const planOf = (options: object): PlainJson =>
  JSON.parse(JSON.stringify(options, (key, value) => (key === 'rows' ? undefined : value)));

const stateSchema = z.looseObject({ version: z.literal(1), given: z.int().min(0) });

function checkState(from: MixState, plan: PlainJson): void {
  if (!stateSchema.safeParse(from).success)
    throw stateError(
      `${describeValue(from)} is no state: { version: 1, given: a number of rows, plan }.`,
    );
  const [was, is] = [JSON.stringify(from.plan), JSON.stringify(plan)];
  if (was !== is) throw stateError(`the state belongs to another mixture: ${was} then, ${is} now.`);
}

const stateError = (message: string): AttuneError =>
  new AttuneError('DATA_MIX_STATE', message, {
    remedy: 'Give the sources, options and seed with which the state was taken.',
  });
