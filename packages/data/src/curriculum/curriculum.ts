import { AttuneError, type Row } from '@attune/core';
import { nearest, type OptionsInput, Rng } from '@attune/core/util';
import { z } from 'zod';
import { type DataRow, formatOrigin } from '../contract/dataRow.js';
import { defineDataStage } from '../contract/dataStage.js';
import { stageFunction } from '../pipeline/stageFunction.js';
import { rowText } from '../schemas/rowText.js';
import { columnNumber } from '../selection/columnNumber.js';
import { competence } from './pacing.js';

const curriculumShape = {
  /**
   * How hard a row is: "length" for the characters of its text, a column with numbers ("loss",
   * "ifd"), or a function of a row.
   */
  by: z
    .union([
      z.string().min(1),
      z.custom<(row: Row) => number>(
        (value) => typeof value === 'function',
        'expected "length", the name of a column, or a function of a row that gives a number',
      ),
    ])
    .meta({ aka: 'column score difficulty key' }),
  /** Whether small numbers (easy) or large ones come first. Default `ascending`. */
  order: z.enum(['ascending', 'descending']).default('ascending'),
  /**
   * `sorted`: by difficulty, without chance. Else each row is drawn from the easiest c(t) of all
   * rows that did not come yet, t being the part of the result that is there: `linear` and `root`
   * widen with every row, `step` in K stages, so that each is a bucket in random order. Default:
   * `step` where `stages` are given, else `sorted`.
   *
   * - linear: c = min(1, t (1 - c0) / T + c0)
   * - root: c = min(1, sqrt(t (1 - c0^2) / T + c0^2))
   * - step: c = (floor(t K / T) + 1) / K, at most 1
   */
  pacing: z.enum(['sorted', 'linear', 'root', 'step']).optional(),
  /** K of `step`. Default 4. */
  stages: z.int().min(2).optional().meta({ aka: 'buckets bins' }),
  /** c0, the share of rows that may come first. Default 0.01, as in the paper. */
  start: z.number().gt(0).max(1).optional().meta({ aka: 'initial_competence' }),
  /** T, the part of the result after which all rows may come. Default 1. */
  duration: z.number().gt(0).max(1).optional(),
  /** Rows without a number are an error, or come last. Default `error`. */
  onMissing: z.enum(['error', 'last']).default('error'),
  /** Seeds what is drawn. Default: the seed of the pipeline. */
  seed: z.int().min(0).optional(),
};

/** Options of {@link curriculum}. */
export type CurriculumOptions = OptionsInput<typeof curriculumShape>;

const curriculumSchema = z
  .strictObject(curriculumShape)
  .refine(({ stages, pacing }) => stages === undefined || (pacing ?? 'step') === 'step', {
    message: 'stages belong to the pacing "step"',
    path: ['stages'],
  })
  .refine(({ start, pacing }) => start === undefined || pacing === 'linear' || pacing === 'root', {
    message: 'start belongs to the pacings "linear" and "root"',
    path: ['start'],
  })
  .refine(({ duration, pacing, stages }) => duration === undefined || isPaced({ pacing, stages }), {
    message: 'duration belongs to the pacings "linear", "root" and "step"',
    path: ['duration'],
  });

const isPaced = ({ pacing, stages }: Pick<CurriculumOptions, 'pacing' | 'stages'>): boolean =>
  (pacing ?? (stages === undefined ? 'sorted' : 'step')) !== 'sorted';

/** Stream of a seed. */
const STREAM = 0x6375;

/** Orders rows from easy to hard. See {@link curriculum}. */
export const curriculumStage = defineDataStage({
  name: 'curriculum',
  options: curriculumSchema,
  async *run(rows, options, context) {
    const { by, order, onMissing, start = 0.01, duration = 1 } = options;
    const pacing = options.pacing ?? (options.stages === undefined ? 'sorted' : 'step');
    let scores = new Float64Array(1024);
    let missing = 0;
    let isTaken = false;
    let count = 0;
    async function* scored(): AsyncGenerator<DataRow> {
      for await (const item of rows) {
        isTaken ||= by === 'length' && Object.hasOwn(item.row, by);
        const score = difficulty(item.row, by);
        if (score === null && onMissing === 'error') throw noScore(item, by);
        if (score === null) missing++;
        if (count === scores.length) {
          const larger = new Float64Array(2 * count);
          larger.set(scores);
          scores = larger;
        }
        scores[count++] =
          score === null ? Number.POSITIVE_INFINITY : order === 'ascending' ? score : -score;
        yield item;
      }
    }
    await using held = await context.hold(scored());
    if (missing > 0 && missing === count)
      throw new AttuneError('DATA_COLUMN', `none of ${count} rows has a number in ${named(by)}.`, {
        remedy: 'Name a column that an earlier stage adds, or order by "length".',
      });
    if (missing > 0) context.warn(`${missing} of ${count} rows have no number; they come last.`);
    if (isTaken)
      context.warn(
        'rows have a column "length", and by is "length": the characters of the text count, not the column. For that give by: (row) => row.length.',
      );
    const sorted = Uint32Array.from({ length: count }, (_, i) => i).sort(
      (a, b) => scores[a]! - scores[b]! || a - b,
    );
    const places =
      pacing === 'sorted'
        ? sorted
        : paced(
            sorted,
            (t) => competence(t, { pacing, start, duration, stages: options.stages ?? 4 }),
            pacing === 'step' ? roundUp : Math.round,
            new Rng(options.seed ?? context.seed, STREAM),
          );
    for (const place of places) yield held.at(place);
  },
});

/** As many rows as the stage has places: j n / K, where it is no whole number the next one. */
const roundUp = (rows: number): number => Math.ceil(rows - 1e-6);

/** Every row once: each drawn from the easiest c(t) of all that did not come yet. */
function* paced(
  sorted: Uint32Array,
  share: (t: number) => number,
  round: (rows: number) => number,
  rng: Rng,
): Generator<number> {
  const count = sorted.length;
  const waiting = new Uint32Array(count);
  let open = 0;
  let joined = 0;
  for (let given = 0; given < count; given++) {
    // At least one waits: c(t) >= t but for rounding.
    const until = Math.max(given + 1, Math.min(count, round(share(given / count) * count)));
    while (joined < until) waiting[open++] = sorted[joined++]!;
    const drawn = rng.below(open);
    yield waiting[drawn]!;
    waiting[drawn] = waiting[--open]!;
  }
}

function difficulty(row: Row, by: string | ((row: Row) => number)): number | null {
  if (by === 'length') return rowText(row).length;
  if (typeof by === 'string') return columnNumber(row, by);
  return columnNumber({ given: by(row) }, 'given');
}

const named = (by: string | ((row: Row) => number)) =>
  typeof by === 'string' ? `"${by}"` : 'what the function gives';

function noScore({ row, origin }: DataRow, by: string | ((row: Row) => number)): AttuneError {
  const near =
    typeof by === 'string' && !Object.hasOwn(row, by) ? nearest(by, Object.keys(row)) : undefined;
  return new AttuneError(
    'DATA_COLUMN',
    `${formatOrigin(origin)} has no number in ${named(by)}.${near === undefined ? '' : ` Did you mean "${near}"?`}`,
    {
      remedy: `Name a column with numbers in every row, or let rows without one come last: onMissing: 'last'. Columns: ${Object.keys(row).slice(0, 12).join(', ')}.`,
    },
  );
}

/**
 * Orders rows from easy to hard, each once. Equal rows stay in their order. Memory holds 24 bytes
 * for each row; the rows wait in a file.
 *
 * A Trainer draws a fresh order in each epoch unless it is told to keep the order of the file:
 * `trainSamplingStrategy: 'sequential'` (or `shuffle: false`).
 *
 * @example
 * const { rows } = await curriculum(scored, { by: 'ifd', pacing: 'root' });
 * @see Platanios et al., arXiv:1904.09139
 * @throws DATA_COLUMN when a row, or with `onMissing: 'last'` every row, has no number
 */
export const curriculum = stageFunction<CurriculumOptions>(curriculumStage);
