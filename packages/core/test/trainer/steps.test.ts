import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import {
  AttuneError,
  causalLmObjective,
  type HostBatch,
  type Objective,
  ops,
  type TokenExample,
  Trainer,
  type TrainerCallback,
  type TrainingArgumentsInput,
  type TrainingStep,
  type UpdateContext,
} from '@attune/core';
import { describe, expect, test } from 'vitest';
import {
  float32Attune,
  idRows,
  ListLogger,
  minuteLlama,
  temporaryFolder,
  weightsOf,
} from './support.js';

const base = causalLmObjective({ maxLength: 32 });

/** Dropout, so that a checkpoint must know how many masks had been drawn. */
const noisy: Objective<TokenExample> = {
  ...base,
  loss(model, { inputIds, labels }) {
    const hidden = model.hiddenStates({ inputIds: inputIds! });
    const dropped = model.root.training ? ops.dropout(hidden, 0.3) : hidden;
    const logits = model.head(dropped).reshape(labels!.size, -1);
    return { loss: ops.crossEntropy(logits, labels!.reshape(labels!.size)).sum() };
  },
};

interface Parts {
  readonly args?: TrainingArgumentsInput;
  readonly objective?: Objective<TokenExample>;
  readonly callbacks?: TrainerCallback[];
}

async function make({ args = {}, objective = noisy, callbacks = [] }: Parts = {}) {
  const logger = new ListLogger();
  const attune = await float32Attune(logger);
  const model = await minuteLlama(attune, 3);
  const trainer = new Trainer({
    model,
    objective: objective as Objective,
    trainDataset: idRows(11),
    evalDataset: idRows(3),
    callbacks,
    args: {
      outputDir: await temporaryFolder(),
      perDeviceTrainBatchSize: 2,
      gradientAccumulationSteps: 2,
      learningRate: 0.01,
      maxSteps: 6,
      saveSteps: 2,
      loggingSteps: 3,
      seed: 5,
      ...args,
    },
  });
  return { attune, model, trainer, logger };
}

/** The log without what the clock decides. */
const timeless = ({ state }: Trainer) =>
  state.logHistory.map((row) =>
    Object.fromEntries(
      Object.entries(row).filter(([name]) => !/Runtime|PerSecond|WaitMs/.test(name)),
    ),
  );

describe('steps()', () => {
  test('tells of each update and evaluation, in order, and returns what train() returns', async () => {
    const args = { evalStrategy: 'steps', evalSteps: 4, evalOnStart: true } as const;
    const drained = await make({ args });
    const output = await drained.trainer.train();
    const { trainer, model } = await make({ args });
    const seen: TrainingStep[] = [];
    const steps = trainer.steps();
    let returned: unknown;
    while (true) {
      const { done, value } = await steps.next();
      if (done) {
        returned = value;
        break;
      }
      // What was due at it is done.
      if (value.step % 2 === 0 && value.step > 0)
        expect(await readdir(trainer.args.outputDir)).toContain(`checkpoint-${value.step}`);
      seen.push(value);
    }
    expect(seen.map(({ kind, step }) => `${kind} ${step}`)).toEqual([
      'evaluation 0',
      'update 1',
      'update 2',
      'update 3',
      'update 4',
      'evaluation 4',
      'update 5',
      'update 6',
      'evaluation 6',
    ]);
    const logged = seen.flatMap((s) => (s.kind === 'update' && s.logs ? [[s.step, s.logs]] : []));
    const history = trainer.state.logHistory.filter((row) => 'gradNorm' in row);
    expect(logged).toEqual(history.map(({ step, ...logs }) => [step, logs]));
    expect(seen[2]).toMatchObject({ epoch: 2 / 3 });
    expect(returned).toMatchObject({ globalStep: 6, trainingLoss: output.trainingLoss });
    expect(await weightsOf(model)).toEqual(await weightsOf(drained.model));
    expect(timeless(trainer)).toEqual(timeless(drained.trainer));
  });

  test('waits for nothing of the device to tell of an update', async () => {
    const { trainer, attune } = await make({ args: { loggingSteps: 100, saveStrategy: 'no' } });
    const { stats } = attune.backend;
    const seen: number[] = [];
    for await (const { step } of trainer.steps()) if (step < 6) seen.push(stats.readbacks);
    expect(new Set(seen)).toEqual(new Set([0]));
  });

  test.each(['break', 'throw'])(
    'left by %s: nothing is held, and the run goes on from its last checkpoint, bit for bit',
    async (how) => {
      const whole = await make();
      await whole.trainer.train();
      const { trainer, attune, model, logger } = await make();
      const before = [attune.engine.liveTensors, process.listenerCount('SIGINT')];
      const { outputDir } = trainer.args;
      const leave = async () => {
        for await (const { step } of trainer.steps()) {
          if (step < 3) continue;
          if (how === 'throw') throw new Error('enough');
          break;
        }
      };
      await (how === 'throw' ? expect(leave()).rejects.toThrow('enough') : leave());
      expect([attune.engine.liveTensors, process.listenerCount('SIGINT')]).toEqual(before);
      expect(model.root.training).toBe(false);
      expect(await readdir(outputDir)).toEqual(['checkpoint-2']);
      expect(logger.lines.filter((line) => /checkpoint/.test(line))).toEqual([]);
      // The folder, the Attune and the trainer are free.
      await trainer.train({ resumeFromCheckpoint: true });
      expect(await weightsOf(model)).toEqual(await weightsOf(whole.model));
      expect(timeless(trainer)).toEqual(timeless(whole.trainer));
    },
  );

  test('batches are made ahead; what goes wrong with one ends the run at its update', async () => {
    const made: number[] = [];
    let updates = 0;
    const objective: Objective<TokenExample> = {
      ...noisy,
      collate(examples) {
        made.push(updates);
        if (made.length === 9)
          throw new AttuneError('SEQ_LENGTHS', 'row 0 of a batch: no.', { remedy: 'Mend it.' });
        return noisy.collate(examples);
      },
    };
    const { trainer } = await make({
      objective,
      args: { gradientAccumulationSteps: 1, saveSteps: 100, loggingSteps: 100, maxSteps: 12 },
    });
    const run = async () => {
      for await (const { step } of trainer.steps()) {
        updates = step;
        for (let i = 0; i < 5; i++) await turn(); // as long as a device takes
      }
    };
    await expect(run()).rejects.toThrow(
      /SEQ_LENGTHS: row 0 of a batch: no\. What was learned is saved in .*checkpoint-8/,
    );
    expect(updates).toBe(8);
    // Updates done when each was made: two ahead of the one in use, anew for each epoch of six.
    expect(made).toEqual([0, 1, 1, 2, 3, 4, 6, 7, 7]);
  });

  test('is refused like train(), at the first step', async () => {
    const { trainer } = await make();
    const first = trainer.steps();
    await first.next();
    await expect(trainer.steps().next()).rejects.toThrow(/ALREADY_TRAINING/);
    await first.return(undefined as never);
    await expect(trainer.steps({ checkpoint: 'x' } as object).next()).rejects.toThrow(
      /UNKNOWN_OPTION.*checkpoint/,
    );
    expect((await trainer.train()).globalStep).toBe(6);
  });

  test('the trainer may be asked for an evaluation between two updates', async () => {
    const { trainer } = await make({ args: { saveStrategy: 'no' } });
    const losses: number[] = [];
    for await (const { step } of trainer.steps())
      if (step % 3 === 0) losses.push((await trainer.evaluate()).evalLoss);
    expect(losses).toHaveLength(2);
  });
});

describe('an objective that makes several updates of a group', () => {
  /**
   * Three updates: both micro-batches, then each by itself. How much they weigh depends on the
   * weights before the first of them, as a rollout does: prepared again from the middle they would
   * be others.
   */
  function rollout(seen: UpdateContext[] = [], made: string[] = []): Objective<TokenExample> {
    return {
      ...noisy,
      name: 'rollout',
      updatesPerGroup: 3,
      async *updates(group, context) {
        seen.push(context);
        const { model, use } = context;
        const [[, parameter]] = [...model.root.namedParameters()] as never as [
          [string, { tensor: { data(): Promise<Float32Array> } }],
        ];
        const scale = 1 + Math.abs((await parameter.tensor.data())[0]!);
        const weigh = (batch: HostBatch): HostBatch => ({
          ...batch,
          scale: { data: Float32Array.of(scale), shape: [1], dtype: 'float32' },
        });
        const batches = group.map(weigh);
        yield { batches };
        if (use === 'training')
          for (const batch of batches) {
            made.push('part');
            yield { batches: [batch] };
          }
        made.push('end');
      },
      loss(model, batch) {
        return { loss: noisy.loss(model, batch).loss.mul(batch.scale!) };
      },
    };
  }
  const args = { maxSteps: 9, saveSteps: 1, numTrainEpochs: 1, evalStrategy: 'no' } as const;

  test('counts updates, is told where it is, and evaluates the first of them', async () => {
    const seen: UpdateContext[] = [];
    const made: string[] = [];
    const { trainer, model } = await make({
      objective: rollout(seen, made),
      args: { ...args, maxSteps: -1, evalStrategy: 'steps', evalSteps: 100 },
    });
    const { globalStep } = await trainer.train();
    // 11 rows are 6 micro-batches: 3 groups of 3 updates.
    expect(globalStep).toBe(9);
    expect(trainer.state.epoch).toBe(1);
    const training = seen.filter(({ use }) => use === 'training');
    expect(training.map(({ step }) => step)).toEqual([1, 4, 7]);
    expect(training[0]).toMatchObject({ computeDType: 'float32' });
    expect(training[0]!.model).toBe(model);
    expect(training[0]!.signal.aborted).toBe(false);
    expect(made).toEqual(Array(3).fill(['part', 'part', 'end']).flat());
    expect(seen.filter(({ use }) => use === 'evaluation').map(({ step }) => step)).toEqual([9]);
  });

  test('what stands behind the last update of a group is done before its checkpoint is written', async () => {
    const made: string[] = [];
    const { trainer } = await make({
      objective: rollout([], made),
      args: { ...args, maxSteps: 6 },
    });
    trainer.on('save', ({ step }) => made.push(`save ${step}`));
    await trainer.train();
    const group = (step: number) => ['part', 'part', 'end', `save ${step}`];
    expect(made).toEqual([...group(3), ...group(6)]);
  });

  test('checkpoints are those of the ends of groups; from each of them, bit for bit', async () => {
    const whole = await make({ objective: rollout(), args });
    await whole.trainer.train();
    const { outputDir } = whole.trainer.args;
    expect((await readdir(outputDir)).sort()).toEqual([
      'checkpoint-3',
      'checkpoint-6',
      'checkpoint-9',
    ]);
    for (const step of [3, 6]) {
      const { trainer, model } = await make({ objective: rollout(), args });
      await trainer.train({ resumeFromCheckpoint: join(outputDir, `checkpoint-${step}`) });
      expect(await weightsOf(model)).toEqual(await weightsOf(whole.model));
      expect(timeless(trainer)).toEqual(timeless(whole.trainer));
    }
  });

  test('a request to end in the middle of a group ends the run at its end', async () => {
    const whole = await make({ objective: rollout(), args });
    await whole.trainer.train();
    const controller = new AbortController();
    const first = await make({ objective: rollout(), args: { ...args, saveSteps: 100 } });
    first.trainer.on('stepEnd', ({ step }) => step === 4 && controller.abort());
    const { outputDir } = first.trainer.args;
    const output = await first.trainer.train({ signal: controller.signal });
    expect(output).toMatchObject({ globalStep: 6, stoppedBy: 'abort' });
    expect(await readdir(outputDir)).toEqual(['checkpoint-6']);
    const { trainer, model } = await make({ objective: rollout(), args: { ...args, outputDir } });
    await trainer.train({ resumeFromCheckpoint: true });
    expect(await weightsOf(model)).toEqual(await weightsOf(whole.model));
  });

  test('one that ends it while a group is prepared leaves that group to the run that goes on', async () => {
    const whole = await make({ objective: rollout(), args });
    await whole.trainer.train();
    const controller = new AbortController();
    const inner = rollout();
    const interrupted: Objective<TokenExample> = {
      ...inner,
      async *updates(group, context) {
        if (context.step === 4) {
          controller.abort();
          // Masks drawn while preparing must not be missing afterwards.
          context.model.engine.dropoutDraws += 7;
          context.signal.throwIfAborted();
        }
        yield* inner.updates!(group, context);
      },
    };
    const first = await make({ objective: interrupted, args: { ...args, saveSteps: 100 } });
    const { outputDir } = first.trainer.args;
    const output = await first.trainer.train({ signal: controller.signal });
    expect(output).toMatchObject({ globalStep: 3, stoppedBy: 'abort' });
    expect(await readdir(outputDir)).toEqual(['checkpoint-3']);
    const { trainer, model } = await make({ objective: rollout(), args: { ...args, outputDir } });
    await trainer.train({ resumeFromCheckpoint: true });
    expect(await weightsOf(model)).toEqual(await weightsOf(whole.model));
  });

  test('maxSteps in the middle of a group: what was learned is saved, the rest of the group left out', async () => {
    const { trainer } = await make({ objective: rollout(), args: { ...args, maxSteps: 5 } });
    await trainer.train();
    const { outputDir } = trainer.args;
    expect((await readdir(outputDir)).sort()).toEqual(['checkpoint-3', 'checkpoint-5']);
    const longer = await make({ objective: rollout(), args: { ...args, maxSteps: 8, outputDir } });
    const seen: number[] = [];
    longer.trainer.on('stepEnd', ({ step }) => seen.push(step));
    await longer.trainer.train({ resumeFromCheckpoint: true });
    expect(seen).toEqual([6, 7, 8]);
    expect(longer.trainer.state.epoch).toBe(1);
  });

  test('a group without an update counts as used', async () => {
    const objective: Objective<TokenExample> = {
      ...noisy,
      async *updates(batches, { step }) {
        if (step !== 2) yield { batches };
      },
    };
    const { trainer } = await make({ objective, args: { maxSteps: -1, numTrainEpochs: 1 } });
    const { globalStep, stoppedBy } = await trainer.train();
    expect({ globalStep, stoppedBy }).toEqual({ globalStep: 1, stoppedBy: null });
    expect(trainer.state.epoch).toBe(1);
  });
});
