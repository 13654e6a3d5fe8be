import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { SFTTrainer } from '../trainer/sftTrainer.js';
import { callbackName, type TrainerCallback } from '../training/callback.js';
import { type KitCheck, kitOf } from './kit.js';
import { inFolder, kitAttune, kitLlama, kitRows } from './trainingKit.js';

/** Options of the kit for callbacks. */
export interface CallbackKitOptions {
  /** Arguments that it needs, e.g. `{ metricForBestModel: 'loss' }`. Default none. */
  readonly args?: Readonly<Record<string, unknown>>;
}

/**
 * What every callback must do, as checks for any test framework:
 *
 *     for (const { name, run } of callbackKit(() => new StopBelow(logger))) test(name, run);
 *
 * It bears every moment of a run, and evaluations and predictions outside of one. What it keeps in
 * checkpoints is JSON, and comes back; a resumed run leaves it as the uninterrupted one does; two
 * trainers do not meet. A tracker has more to do: `trackerKit`.
 *
 * @param make a new callback, as each Trainer gets one
 */
export function callbackKit(
  make: () => TrainerCallback,
  { args = {} }: CallbackKitOptions = {},
): KitCheck[] {
  const { check, fail } = kitOf(`callback "${callbackName(make())}"`);

  const train = async (folder: string, changes: object = {}): Promise<TrainerCallback> => {
    const callback = make();
    await using attune = await kitAttune();
    const trainer = new SFTTrainer({
      model: await kitLlama(attune),
      trainDataset: kitRows(4),
      evalDataset: kitRows(2),
      callbacks: [callback],
      args: {
        outputDir: join(folder, 'out'),
        preflight: 'off',
        perDeviceTrainBatchSize: 1,
        gradientAccumulationSteps: 2,
        lrSchedulerType: 'constant',
        maxSteps: 4, // two epochs
        loggingSteps: 1,
        evalStrategy: 'steps',
        evalSteps: 2,
        saveSteps: 2,
        ...args,
        ...changes,
      } as object,
    });
    await trainer.train();
    return callback;
  };
  const stateOf = (callback: TrainerCallback) => callback.exportState?.() ?? null;
  const same = (found: unknown, expected: unknown, what: string, remedy: string) => {
    if (!isDeepStrictEqual(found, expected))
      fail(
        `${what} its state is ${JSON.stringify(found)}, not ${JSON.stringify(expected)}`,
        remedy,
      );
  };

  return [
    check('has a name, and each new one is another', () => {
      const [one, other] = [make(), make()];
      if (callbackName(one) === '' || callbackName(one) === 'Object')
        fail('it has no name', 'Give it one: messages and checkpoints call it by that.');
      if (one === other) fail('two trainers get the same one', 'Make a new one each time.');
    }),
    check('bears every moment of a run; its state is JSON, and comes back', () =>
      inFolder(async (folder) => {
        const state = stateOf(await train(folder));
        const saved = JSON.parse(JSON.stringify(state));
        same(saved, state, 'as JSON', 'Export plain values: numbers that are finite, text, lists.');
        if (state === null) return;
        const other = make();
        if (!other.importState)
          fail('it exports a state and imports none', 'Write importState, or leave out both.');
        other.importState?.(saved);
        same(stateOf(other), state, 'imported and exported again', 'Take over all of it.');
      }),
    ),
    check('a resumed run leaves it as the uninterrupted one does', () =>
      inFolder(async (folder) => {
        const whole = stateOf(await train(join(folder, 'whole'), { saveStrategy: 'no' }));
        const halves = join(folder, 'halves');
        await train(halves, { maxSteps: 2 });
        const resumed = stateOf(
          await train(halves, { resumeFromCheckpoint: true, saveStrategy: 'no' }),
        );
        same(
          resumed,
          whole,
          'after a resumed run',
          'Export what changes; onTrainBegin comes behind importState, and must not undo it.',
        );
      }),
    ),
    check('bears evaluations and predictions outside of a run', () =>
      inFolder(async (folder) => {
        await using attune = await kitAttune();
        const trainer = new SFTTrainer({
          model: await kitLlama(attune),
          trainDataset: kitRows(2),
          evalDataset: kitRows(2),
          callbacks: [make()],
          args: { outputDir: join(folder, 'out'), evalStrategy: 'epoch', ...args },
        });
        await trainer.evaluate();
        await trainer.predict(kitRows(2));
      }),
    ),
    check('two trainers at once do not meet', () =>
      inFolder(async (folder) => {
        const alone = stateOf(await train(join(folder, 'alone'), { saveStrategy: 'no' }));
        const both = await Promise.all(
          ['one', 'other'].map((name) => train(join(folder, name), { saveStrategy: 'no' })),
        );
        for (const callback of both)
          same(stateOf(callback), alone, 'beside another run', 'Hold no state outside the object.');
      }),
    ),
  ];
}
