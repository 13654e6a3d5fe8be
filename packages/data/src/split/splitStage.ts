import { AttuneError } from '@attune/core';
import { nearest, type OptionsInput } from '@attune/core/util';
import { z } from 'zod';
import { type DataRow, formatOrigin } from '../contract/dataRow.js';
import { defineDataStage, type HeldRows, type StageContext } from '../contract/dataStage.js';
import { rowText } from '../schemas/rowText.js';
import { describeValueOf, keyOf, type RowValue } from './groupKey.js';
import { type Hash64, HashNumbers, hash64 } from './hash64.js';
import { NearGroups } from './nearGroups.js';
import { assignSides, SIDES } from './sides.js';
import { bySide, Strata, type StratumReport, strataReport } from './strata.js';

const rowValue = z.union([
  z.string().min(1),
  z.custom<Exclude<RowValue, string>>(
    (value) => typeof value === 'function',
    'expected the name of a column, a path to it, or a function of a row',
  ),
]);

const sizeSchema = z
  .number()
  .min(0)
  .refine((size) => size < 1 || Number.isInteger(size), {
    message: 'expected a share below 1, or a whole number of groups',
  });

const splitShape = {
  /**
   * Rows with the same value are on the same side: a column, a path into one ("meta.id") or a
   * function of a row. 1 and "1" are the same. Default: each row is a group of its own; copies that
   * an earlier stage made of a row stay together.
   */
  groupBy: rowValue.optional().meta({ aka: 'group groups groupcolumn' }),
  /** Rows of the same file are on the same side, in place of `groupBy`. Default false. */
  bySource: z.boolean().default(false),
  /**
   * Share of the GROUPS that are held out as test, below 1: ceil(testSize * groups), as
   * scikit-learn's `GroupShuffleSplit`. From 1 on: their number. Default 0.1.
   */
  testSize: sizeSchema
    .refine((size) => size > 0, {
      message: 'expected more than 0: without a test side there is no split',
    })
    .default(0.1)
    .meta({ aka: 'test test_ratio test_fraction' }),
  /** The same for a validation side. Default 0: none. */
  validationSize: sizeSchema.default(0).meta({ aka: 'valsize evalsize devsize validation' }),
  /** Seeds which groups are held out. Default: the seed of the pipeline. */
  seed: z.int().min(0).optional().meta({ aka: 'random_state' }),
  /**
   * Each side gets its share of the groups of each value (largest remainders): a column, a path or
   * a function. The value of a group is that of most of its rows. Default: none.
   */
  stratifyBy: rowValue.optional().meta({ aka: 'stratify' }),
  /**
   * Joins groups that have nearly equal rows, so that they are on the same side: from which Jaccard
   * similarity of their texts on (5-grams of words, of characters for short texts), as `dedupe`
   * finds them. The texts are in memory. Default: groups are as they are.
   */
  nearDuplicates: z.number().gt(0).max(1).optional().meta({ aka: 'neardups jaccard' }),
  /** Rows without a value of `groupBy` are groups of their own, or an error. Default `own`. */
  onMissing: z.enum(['own', 'error']).default('own'),
};

/** Options of {@link groupSplit} and of the stage `split`. */
export type SplitOptions = OptionsInput<typeof splitShape>;

const splitSchema = z
  .strictObject(splitShape)
  .refine(({ groupBy, bySource }) => !(bySource && groupBy !== undefined), {
    message: 'bySource groups by file, and groupBy is given: use one of the two',
    path: ['bySource'],
  });
type ParsedSplit = z.output<typeof splitSchema>;

/** Strata that a report lists. */
const MOST_STRATA = 100;

/** Marks each row as train, validation or test, so that no group is on two sides. */
export const splitStage = defineDataStage({
  name: 'split',
  options: splitSchema,
  async *run(rows, options, context) {
    const groups = new HashNumbers();
    const strata = options.stratifyBy === undefined ? null : new Strata();
    const missing = new MissingGroups(options);
    const seed = options.seed ?? context.seed;
    const near =
      options.nearDuplicates === undefined ? null : new NearGroups(options.nearDuplicates, seed);
    let withoutStratum = 0;
    async function* grouped() {
      for await (const item of rows) {
        const key = groupKey(item, options);
        missing.see(item, key === null);
        const group = groups.add(hashOf(item, key));
        near?.add(group, rowText(item.row));
        const stratum = strata && keyOf(item.row, options.stratifyBy!);
        if (stratum === null) withoutStratum++;
        strata?.add(group, stratum ?? 'none');
        yield item;
      }
    }
    await using held = await context.hold(grouped());
    missing.check(held.length);
    if (strata && withoutStratum === held.length) throw await noStratum(held, options);
    if (strata && withoutStratum > 0)
      context.warn(
        `${withoutStratum} rows have no value of ${describeValueOf(options.stratifyBy!)}; they are the stratum "none".`,
      );
    const joined = near?.units(groups) ?? null;
    const units = joined?.units ?? groups;
    const all = strata?.finish(groups.length) ?? null;
    const named =
      all && joined ? { ...all, of: joined.groupOf.map((group) => all.of[group]!) } : all;
    const sides = assignSides(units, options, seed, named);
    const sideOf = (group: number) => sides[joined?.unitOf[group] ?? group]!;
    // Looked up again by what is read now, so that `groupsShared` is found and not assumed.
    const sidesOf = new Uint8Array(groups.length);
    const counts = [0, 0, 0];
    for await (const item of held) {
      const group = groups.find(hashOf(item, groupKey(item, options)));
      if (group < 0) throw unstable(item, options);
      const side = sideOf(group);
      counts[side]!++;
      sidesOf[group]! |= 1 << side;
      yield { ...item, split: SIDES[side]! };
    }
    const groupCounts = [0, 0, 0];
    for (const side of sides) groupCounts[side]!++;
    context.fact('groupsShared', sidesOf.filter((mask) => (mask & (mask - 1)) !== 0).length);
    context.fact('groups', bySide(groupCounts));
    context.fact('rows', bySide(counts));
    context.fact('rowsWithoutGroup', missing.count);
    if (joined) context.fact('groupsJoined', groups.length - units.length);
    warnOfSizes(counts, options, context);
    if (named === null) return;
    const report = strataReport(named.names, named.of, sides);
    context.fact('strata', report.slice(0, MOST_STRATA));
    context.fact('groupsOfSeveralStrata', strata!.mixedGroups);
    warnOfStrata(report, options, context);
  },
});

/** The value that groups a row; null: the row has none, or no value is asked for. */
function groupKey({ row, origin }: DataRow, { groupBy, bySource }: ParsedSplit): string | null {
  if (bySource) return origin.file;
  return groupBy === undefined ? null : keyOf(row, groupBy);
}

/** Copies of a row have its origin, and stay together. */
const hashOf = ({ origin }: DataRow, key: string | null): Hash64 =>
  hash64(key === null ? `row\0${origin.file}\0${origin.row}` : `group\0${key}`);

/** Counts the rows without a value of `groupBy`. */
class MissingGroups {
  count = 0;
  #columns: readonly string[] | null = null;

  constructor(private readonly options: ParsedSplit) {}

  see({ row, origin }: DataRow, isMissing: boolean): void {
    const { groupBy, onMissing } = this.options;
    this.#columns ??= Object.keys(row);
    if (!isMissing || groupBy === undefined) return;
    this.count++;
    if (onMissing === 'own') return;
    throw new AttuneError(
      'DATA_SPLIT_NO_GROUP',
      `${formatOrigin(origin)} has no value of ${describeValueOf(groupBy)}, and onMissing is "error".`,
      { remedy: 'Give each row one, or let rows without one be groups of their own: "own".' },
    );
  }

  /** @throws DATA_SPLIT_EMPTY without rows, DATA_SPLIT_NO_GROUP when no row has a value */
  check(rows: number): void {
    const { groupBy } = this.options;
    if (rows === 0)
      throw new AttuneError('DATA_SPLIT_EMPTY', 'no rows came to the split.', {
        remedy: 'Look at what was read, and at what earlier stages dropped.',
      });
    if (groupBy === undefined || this.count < rows) return;
    const columns = this.#columns ?? [];
    const near = typeof groupBy === 'string' ? nearest(groupBy, columns) : undefined;
    throw new AttuneError(
      'DATA_SPLIT_NO_GROUP',
      `none of ${rows} rows has a value of ${describeValueOf(groupBy)}.${near === undefined ? '' : ` Did you mean "${near}"?`}`,
      {
        remedy: `Columns of the first row: ${columns.slice(0, 12).join(', ')}. Leave groupBy out to split row by row.`,
      },
    );
  }
}

async function noStratum(held: HeldRows, { stratifyBy }: ParsedSplit): Promise<AttuneError> {
  const columns = Object.keys((await held.at(0)).row);
  const near = typeof stratifyBy === 'string' ? nearest(stratifyBy, columns) : undefined;
  return new AttuneError(
    'DATA_SPLIT_NO_STRATUM',
    `none of ${held.length} rows has a value of ${describeValueOf(stratifyBy!)}.${near === undefined ? '' : ` Did you mean "${near}"?`}`,
    { remedy: `Columns of the first row: ${columns.slice(0, 12).join(', ')}.` },
  );
}

const unstable = ({ origin }: DataRow, { groupBy }: ParsedSplit) =>
  new AttuneError(
    'DATA_SPLIT_UNSTABLE',
    `${describeValueOf(groupBy!)} gives ${formatOrigin(origin)} another group when it is asked again.`,
    { remedy: 'groupBy gives the same value for the same row, always.' },
  );

/**
 * Rows on a side against what its share of the groups lets one expect, from which on it is told.
 */
const FAR_OFF = 2;

function warnOfSizes(rows: readonly number[], options: ParsedSplit, context: StageContext): void {
  const all = rows.reduce((sum, count) => sum + count, 0);
  for (const [side, size] of [
    ['test', options.testSize],
    ['validation', options.validationSize],
  ] as const) {
    const share = rows[SIDES.indexOf(side)]! / all;
    if (size === 0 || size >= 1 || (share < FAR_OFF * size && share > size / FAR_OFF)) continue;
    // A few groups can't give the share: ceil(0.1 * 3) is a third of them.
    if (all * size < 20) continue;
    context.warn(
      `${side} is ${(100 * size).toFixed(1)} % of the groups and ${(100 * share).toFixed(1)} % of the rows: groups are of very different sizes. Another seed holds out others.`,
    );
  }
}

function warnOfStrata(
  strata: readonly StratumReport[],
  { validationSize }: ParsedSplit,
  context: StageContext,
): void {
  const small = strata.filter(
    ({ groups: { train, validation, test } }) =>
      train === 0 || test === 0 || (validationSize > 0 && validation === 0),
  );
  if (small.length === 0) return;
  const names = small.slice(0, 5).map(({ name }) => `"${name}"`);
  const more = small.length > 5 ? ` and ${small.length - 5} more` : '';
  context.warn(`strata without a group on every side: ${names.join(', ')}${more}.`);
}
