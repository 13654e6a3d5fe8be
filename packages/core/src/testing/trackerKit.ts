import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { Tracker } from '../callbacks/points.js';
import { SFTTrainer } from '../trainer/sftTrainer.js';
import type { TrainingArgumentsInput } from '../training/arguments/trainingArguments.js';
import type { EvalMetrics, TrainerCallback } from '../training/callback.js';
import { type OptionsInput, parseOptions } from '../util/options.js';
import { type KitCheck, kitOf } from './kit.js';
import { inFolder, kitAttune, kitLlama, kitRows } from './trainingKit.js';

const kitShape = {
  /** What its entry in `Trackers` says of it. */
  writesFiles: z.boolean(),
  /**
   * What it has written of a run: [step, value] of each training loss, in the order of the steps.
   * `folder` is the loggingDir of the run. Default none: what is written is not looked at.
   */
  readLosses: z
    .custom<(folder: string) => Promise<readonly (readonly [number, number])[]>>(
      (value) => typeof value === 'function',
      'expected a function',
    )
    .optional()
    .meta({ aka: 'losses' }),
};
const kitOptions = z.strictObject(kitShape);

/** Options of the kit for trackers. */
export type TrackerKitOptions = OptionsInput<typeof kitShape>;

/**
 * What every tracker must do, as checks for any test framework:
 *
 *     for (const { name, run } of trackerKit(() => new AcmeTracker(), { writesFiles: true }))
 *       test(name, run);
 *
 * It bears every moment of a run, values that are not finite, and rows outside of a run; it changes
 * no number; a resumed run goes on in it; one that writes files writes into loggingDir; two runs do
 * not meet. A tracker that needs a server wants one that answers.
 *
 * @param make a new tracker, as each Trainer gets one
 */
export function trackerKit(make: () => Tracker, options: TrackerKitOptions): KitCheck[] {
  parseOptions(kitOptions, options, { where: 'trackerKit' });
  const first = make();
  const { check, fail } = kitOf(`tracker "${first.name ?? first.constructor.name}"`);
  const { readLosses, writesFiles } = options;

  const train = async (
    callbacks: readonly TrainerCallback[],
    folder: string,
    args: TrainingArgumentsInput = {},
  ) => {
    await using attune = await kitAttune();
    const trainer = new SFTTrainer({
      model: await kitLlama(attune),
      trainDataset: kitRows(4),
      evalDataset: kitRows(2),
      computeMetrics: () => ({ strange: Number.NaN, endless: Number.POSITIVE_INFINITY }),
      callbacks,
      args: {
        outputDir: join(folder, 'out'),
        loggingDir: join(folder, 'logs'),
        preflight: 'off',
        perDeviceTrainBatchSize: 1,
        gradientAccumulationSteps: 2,
        maxSteps: 4,
        loggingSteps: 1,
        evalStrategy: 'steps',
        evalSteps: 2,
        saveSteps: 2,
        ...args,
      } as object,
    });
    await trainer.train();
    return trainer.state.logHistory.flatMap((row) =>
      'loss' in row ? [[row.step, Number(row.loss)] as const] : [],
    );
  };
  const compare = async (
    folder: string,
    expected: readonly (readonly [number, number])[],
    what: string,
  ) => {
    if (!readLosses) return;
    const found = await readLosses(join(folder, 'logs'));
    const wrong = expected.find(([step, loss], i) => {
      const [at, value] = found[i] ?? [];
      return at !== step || !(Math.abs(value! - loss) <= 1e-5 * Math.abs(loss));
    });
    if (wrong || found.length !== expected.length)
      fail(
        `${what} it has the losses ${JSON.stringify(found)}, expected ${JSON.stringify(expected)}`,
        'Write each row of onLog once, under state.globalStep; a resumed run repeats none.',
      );
  };

  return [
    check('bears every moment of a run, and changes no number', () =>
      inFolder(async (folder) => {
        const alone = await train([], join(folder, 'alone'), { saveStrategy: 'no' });
        const tracked = await train([make()], folder);
        if (JSON.stringify(alone) !== JSON.stringify(tracked))
          fail('the losses of a run differ with it', 'A tracker must not touch model or control.');
        await compare(folder, tracked, 'after a run');
      }),
    ),
    check('a resumed run goes on in it', () =>
      inFolder(async (folder) => {
        await train([make()], folder, { maxSteps: 2 });
        const losses = await train([make()], folder, {
          resumeFromCheckpoint: true,
          saveStrategy: 'no',
        });
        await compare(folder, losses, 'after a resumed run');
      }),
    ),
    check('values that are not finite do not stop it, nor rows outside of a run', async () => {
      await using attune = await kitAttune();
      const tracker = make();
      await inFolder(async (folder) => {
        const args = { outputDir: join(folder, 'out'), loggingDir: join(folder, 'logs') };
        const trainer = new SFTTrainer({
          model: await kitLlama(attune),
          trainDataset: kitRows(2),
          evalDataset: kitRows(2),
          callbacks: [tracker],
          computeMetrics: () => ({ strange: Number.NaN, endless: Number.NEGATIVE_INFINITY }),
          args,
        });
        const metrics: EvalMetrics = await trainer.evaluate();
        if (!Number.isFinite(metrics.evalLoss))
          fail('the loss of an evaluation is not finite with it', 'Look for writes to the model.');
      });
    }),
    check(writesFiles ? 'writes into loggingDir' : 'writes no files, as its entry says', () =>
      inFolder(async (folder) => {
        await train([make()], folder, { saveStrategy: 'no' });
        const files = await readdir(join(folder, 'logs')).catch(() => []);
        if (files.length > 0 !== writesFiles)
          fail(
            `writesFiles is ${writesFiles}, and after a run ${files.length} files are in loggingDir`,
            'Write into args.loggingDir ?? args.outputDir; say so where you add it to Trackers.',
          );
      }),
    ),
    check('two trainers at once have a tracker each, and do not meet', () =>
      inFolder(async (folder) => {
        const [one, other] = [join(folder, 'one'), join(folder, 'other')];
        const [losses, others] = await Promise.all([
          train([make()], one, { saveStrategy: 'no' }),
          train([make()], other, { saveStrategy: 'no', seed: 7 }),
        ]);
        await compare(one, losses!, 'beside another run');
        await compare(other, others!, 'beside another run');
      }),
    ),
  ];
}
