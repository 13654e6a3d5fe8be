import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { type Attune, AttuneError, type Row } from '@attune/core';
import { type KitCheck, kitOf } from '@attune/core/testing';
import { parseOptions } from '@attune/core/util';
import type { DataRow } from '../contract/dataRow.js';
import type { DataStage } from '../contract/dataStage.js';
import { MemoryCache } from '../pipeline/memoryCache.js';
import { runStages } from '../pipeline/runStages.js';
import type { LostRow, StageReport } from '../pipeline/stageTally.js';
import { stageKitSchema } from './kitOptions.js';

/** What {@link dataStageKit} runs a stage with. */
export interface DataStageKitOptions {
  /** Rows that the stage is for: some that pass, some that do not. At least two. */
  readonly rows: readonly Row[];
  /** Its options. Default: none. */
  readonly options?: object;
  /** For a stage that loads models by their names. Default: none. */
  readonly attune?: Attune | null;
}

/** Rows that a file may have and no stage is for. */
const ODD: readonly Row[] = [
  {},
  { text: null },
  { text: 7, id: 2n ** 60n },
  { text: '' },
  { text: '\ud800 half a character \u0000' },
  { messages: [] },
  { messages: 'none' },
  { messages: [null, 7, { role: 'user' }, { from: 'x', value: {} }] },
  { prompt: [], completion: {} },
  { chosen: 1, rejected: null },
  { instruction: ['a'], output: { deep: [[[]]] } },
];

/**
 * What every stage must do, as checks for any test framework:
 *
 *     for (const { name, run } of dataStageKit(mine, { rows, options: { by: 2 } })) test(name, run);
 *
 * Every row is accounted for; rows that it is given are left as they are; the seed alone decides
 * what is drawn; no rows and rows of odd shape do not break it; it stops reading when nobody wants
 * more; options that it does not know are refused.
 */
export function dataStageKit(stage: DataStage, kit: DataStageKitOptions): KitCheck[] {
  parseOptions(stageKitSchema, kit, { where: 'dataStageKit' });
  const { check, fail } = kitOf(`data stage "${stage.name}"`);
  const options = parseOptions(stage.options, kit.options ?? {}, { where: stage.name });
  const run = (rows: readonly Row[], changes: Partial<KitRun> = {}) =>
    runOnce({ stage, options, rows, seed: 0, attune: kit.attune ?? null, ...changes });

  return [
    check('its name can stand in a file, and it refuses options that it does not know', () => {
      if (!/^[a-z][a-zA-Z0-9]*(-[a-z0-9]+)*$/.test(stage.name))
        fail('its name is no word', 'Name it "shorterThan" or "shorter-than".');
      if (stage.options.safeParse({ ...kit.options, 'no such option': 1 }).success)
        fail('it takes an option that it does not know', 'Make its schema by z.strictObject.');
    }),

    check('every row is given, dropped, quarantined or added', async () => {
      const { report } = await run(kit.rows);
      for (const reason of Object.keys({ ...report.dropped, ...report.quarantined }))
        if (reason.trim() === '' || reason.length > 80)
          fail(`"${reason}" is no reason of a few words`, 'Put what is special into the detail.');
    }),

    check('rows that it is given stay as they are', async () => {
      const { given } = await run(kit.rows);
      const changed = given.findIndex((row, i) => !isDeepStrictEqual(row, kit.rows[i]));
      if (changed >= 0)
        fail(
          `row ${changed} was changed in place`,
          'Yield { ...item, row: { ...item.row, column } } instead.',
        );
    }),

    check('the same rows, options and seed give the same', async () => {
      const [first, second] = [await run(kit.rows), await run(kit.rows)];
      if (!isDeepStrictEqual(first.rows, second.rows))
        fail('a second run gives other rows', 'Draw from context.seed alone, and keep no state.');
      if (!isDeepStrictEqual(first.lost, second.lost))
        fail('a second run loses other rows', 'Draw from context.seed alone, and keep no state.');
    }),

    check('no rows are no problem', async () => {
      await orExplained(() => run([]));
    }),

    check('rows of odd shape are accounted for, or refused by an error that says why', async () => {
      await orExplained(() => run(kit.rows.flatMap((row, i) => [row, ODD[i % ODD.length]!])));
      for (const row of ODD) await orExplained(() => run([row, ...kit.rows]));
    }),

    check('it stops reading when nobody wants more', async () => {
      let isClosed = false;
      await run(kit.rows, { most: 1, onClose: () => (isClosed = true) });
      if (!isClosed)
        fail(
          'the rows before it were left open',
          'Read them with `for await`, or call return() of their iterator.',
        );
    }),
  ];
}

/** Errors of a stage that is written badly. */
const OF_THE_STAGE: readonly string[] = ['DATA_ROWS_LOST', 'DATA_STAGE_OUTPUT', 'DATA_ROW_VALUE'];

/** An AttuneError is as good as a result. */
async function orExplained(run: () => Promise<unknown>): Promise<void> {
  try {
    await run();
  } catch (error) {
    if (!AttuneError.isInstance(error) || OF_THE_STAGE.includes(error.code)) throw error;
  }
}

interface KitRun {
  readonly stage: DataStage;
  readonly options: Readonly<Record<string, unknown>>;
  readonly rows: readonly Row[];
  readonly seed: number;
  readonly attune: Attune | null;
  /** Rows after which nobody wants more. */
  readonly most?: number;
  readonly onClose?: () => void;
}

interface KitResult {
  /** Copies of the rows, as the stage left them. */
  readonly given: readonly Row[];
  readonly rows: readonly DataRow[];
  readonly lost: readonly LostRow[];
  readonly report: StageReport;
}

async function runOnce(kit: KitRun): Promise<KitResult> {
  const { stage, options, rows, seed, attune, most = Number.POSITIVE_INFINITY, onClose } = kit;
  const given = structuredClone(rows) as readonly Row[];
  const workFolder = await mkdtemp(join(tmpdir(), 'attune-data-kit-'));
  async function* source(): AsyncGenerator<DataRow> {
    try {
      for (const [i, row] of given.entries()) yield { row, origin: { file: 'kit', row: i } };
    } finally {
      onClose?.();
    }
  }
  const lost: LostRow[] = [];
  const cache = new MemoryCache();
  try {
    const running = runStages(source(), [{ stage, options }], {
      workFolder,
      seed,
      attune,
      cacheOf: () => cache,
      onLost: (one) => lost.push(one),
    });
    const out: DataRow[] = [];
    for await (const row of running.rows) if (out.push(row) >= most) break;
    return { given, rows: out, lost, report: running.reports()[1]! };
  } finally {
    await rm(workFolder, { recursive: true, force: true });
  }
}
