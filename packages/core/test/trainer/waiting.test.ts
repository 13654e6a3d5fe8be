import { setImmediate as turn } from 'node:timers/promises';
import {
  type AttuneError,
  causalLmObjective,
  type EvaluationTask,
  IterableDataset,
  type Objective,
  Trainer,
  type TrainerCallback,
  type TrainingArgumentsInput,
} from '@attune/core';
import type { LogEntry } from '@attune/core/training';
import { afterEach, describe, expect, test, vi } from 'vitest';
import {
  float32Attune,
  idRows,
  ListLogger,
  minuteLlama,
  temporaryFolder,
  weightsOf,
} from './support.js';

interface Parts {
  readonly args?: TrainingArgumentsInput;
  readonly callbacks?: TrainerCallback[];
  readonly evaluationTasks?: EvaluationTask[];
  readonly objective?: Objective;
  readonly computeMetrics?: () => Promise<Record<string, number>>;
  readonly trainDataset?: ConstructorParameters<typeof Trainer>[0]['trainDataset'];
}

async function make({ args = {}, objective, trainDataset = idRows(6), ...parts }: Parts) {
  const logger = new ListLogger();
  const attune = await float32Attune(logger);
  const model = await minuteLlama(attune, 3);
  const makeTrainer = async () =>
    new Trainer({
      model,
      objective: objective ?? causalLmObjective({ maxLength: 32 }),
      trainDataset,
      evalDataset: idRows(5),
      tokenizer: { encode: () => [1, 2], decode: () => 'x' } as never,
      ...parts,
      args: {
        outputDir: await temporaryFolder(),
        perDeviceTrainBatchSize: 2,
        perDeviceEvalBatchSize: 1,
        maxSteps: 3,
        saveStrategy: 'no',
        learningRate: 0.01,
        seed: 5,
        ...args,
      },
    });
  return { attune, model, logger, trainer: await makeTrainer(), makeTrainer };
}

const base = causalLmObjective({ maxLength: 32 });
const later = () => {
  let release: () => void = () => {};
  const promise = new Promise<void>((resolve) => {
    release = resolve;
  });
  return { promise, release };
};
/** Until the run waits for what the test holds back. */
const settle = async () => {
  for (let i = 0; i < 200; i++) await turn();
};
const warnings = (logger: ListLogger) => logger.lines.filter((line) => line.startsWith('warn'));

describe('what hangs', () => {
  afterEach(() => void vi.useRealTimers());

  const hangs: [string, (gate: Promise<void>) => Parts, RegExp][] = [
    [
      'a callback',
      (gate) => ({
        callbacks: [
          { name: 'slow', onStepEnd: ({ state }) => (state.globalStep === 2 ? gate : undefined) },
        ],
      }),
      /callback "slow" in onStepEnd at update 2/,
    ],
    [
      'an evaluation task',
      (gate) => ({
        args: { evalStrategy: 'steps', evalSteps: 2 },
        evaluationTasks: [{ name: 'quiz', evaluate: () => gate.then(() => ({ acc: 1 })) }],
      }),
      /evaluation task "quiz" at update 2/,
    ],
    [
      'computeMetrics',
      (gate) => ({
        args: { evalStrategy: 'steps', evalSteps: 3 },
        computeMetrics: () => gate.then(() => ({ one: 1 })),
      }),
      /computeMetrics/,
    ],
    [
      'what an objective makes of a group (rewards, rollouts)',
      (gate) => ({
        objective: {
          ...base,
          name: 'rewarded',
          async *updates(batches) {
            await gate;
            yield { batches };
          },
        } as Objective,
      }),
      /objective "rewarded" in updates, of update 1/,
    ],
    [
      'rows of a stream',
      (gate) => ({
        trainDataset: IterableDataset.from(async function* () {
          yield* idRows(4);
          await gate;
          yield* idRows(8);
        }),
      }),
      /training rows, for update \d/,
    ],
  ];
  test.each(hangs)(
    '%s: is named after 30 s, once, and on the first Ctrl-C',
    async (_, parts, message) => {
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
      const { promise, release } = later();
      const { trainer, logger, attune } = await make(parts(promise));
      const training = trainer.train();
      await settle();
      vi.advanceTimersByTime(29_999);
      expect(warnings(logger)).toEqual([]);
      vi.advanceTimersByTime(90_000);
      expect(warnings(logger)).toEqual([expect.stringMatching(message)]);
      expect(logger.lines.at(-1)).toMatch(/: not done after 30 s; the run is waiting for it/);
      process.emit('SIGINT', 'SIGINT');
      expect(warnings(logger)).toHaveLength(2);
      expect(logger.lines.at(-1)).toMatch(/SIGINT: the run ends .* It is waiting for /);
      expect(logger.lines.at(-1)).toMatch(message);
      release();
      await training;
      await attune.dispose();
    },
  );

  test('what an objective prepares is named after 30 s', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const { promise, release } = later();
    const objective = { ...base, name: 'frozen', prepare: () => promise } as Objective;
    const { trainer, logger, attune } = await make({ objective });
    const training = trainer.train();
    await settle();
    vi.advanceTimersByTime(90_000);
    expect(warnings(logger)).toEqual([expect.stringMatching(/objective "frozen" in prepare: not/)]);
    release();
    await training;
    await attune.dispose();
  });

  test('what takes its time below that is not mentioned, and leaves no timer', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const { trainer, logger, attune } = await make({
      callbacks: [{ onStepEnd: async () => void (await turn()) }],
    });
    await trainer.train();
    expect(warnings(logger)).toEqual([]);
    expect(vi.getTimerCount()).toBe(0);
    await attune.dispose();
  });
});

describe('a request to end during an evaluation', () => {
  const timeless = (history: readonly LogEntry[]) =>
    history.map((row) =>
      Object.fromEntries(
        Object.entries(row).filter(([name]) => !/Runtime|PerSecond|WaitMs/.test(name)),
      ),
    );
  const args = {
    evalStrategy: 'steps',
    evalSteps: 2,
    maxSteps: 4,
    saveSteps: 1,
    saveStrategy: 'steps',
  } as const;

  test('ends it after the batch; the run that goes on begins with it, and is the uninterrupted one', async () => {
    const whole = await make({ args });
    await whole.trainer.train();
    const outputDir = await temporaryFolder();
    const controller = new AbortController();
    const batches: number[] = [];
    const first = await make({
      args: { ...args, outputDir },
      callbacks: [
        {
          onPredictionStep(_, { batch }) {
            batches.push(batch);
            if (batch === 2) controller.abort();
          },
        },
      ],
    });
    const { stoppedBy, globalStep } = await first.trainer.train({ signal: controller.signal });
    expect({ stoppedBy, globalStep, batches }).toEqual({
      stoppedBy: 'abort',
      globalStep: 2,
      batches: [1, 2],
    });
    expect(first.trainer.state.logHistory.some((row) => 'evalLoss' in row)).toBe(false);
    const second = await make({ args: { ...args, outputDir } });
    await second.trainer.train({ resumeFromCheckpoint: true });
    expect(timeless(second.trainer.state.logHistory)).toEqual(
      timeless(whole.trainer.state.logHistory),
    );
    expect(await weightsOf(second.model)).toEqual(await weightsOf(whole.model));
  });

  test('reaches tasks by their signal', async () => {
    const controller = new AbortController();
    const seen: (boolean | undefined)[] = [];
    const task: EvaluationTask = {
      name: 'quiz',
      async evaluate({ signal }) {
        seen.push(signal?.aborted);
        controller.abort();
        seen.push(signal?.aborted);
        signal?.throwIfAborted();
        return { acc: 1 };
      },
    };
    const { trainer } = await make({ args, evaluationTasks: [task] });
    const { stoppedBy, globalStep } = await trainer.train({ signal: controller.signal });
    expect(seen).toEqual([false, true]);
    expect({ stoppedBy, globalStep }).toEqual({ stoppedBy: 'abort', globalStep: 2 });
  });
});

describe('two at once', () => {
  test('a second train() of a trainer is refused from the first moment on', async () => {
    const { trainer } = await make({});
    const both = await Promise.allSettled([trainer.train(), trainer.train()]);
    expect(both.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
    expect((both[1] as PromiseRejectedResult).reason.message).toMatch(/ALREADY_TRAINING/);
    await trainer.train();
  });

  test('two trainers on one Attune: the second is refused while the first runs', async () => {
    const { trainer, makeTrainer } = await make({});
    const other = await makeTrainer();
    const first = trainer.train();
    for (const refused of [() => other.train(), () => other.profile()])
      await expect(refused()).rejects.toThrow(
        /ATTUNE_BUSY: Trainer\.\w+\(\): Trainer\.train\(\) of another trainer is running/,
      );
    await first;
    expect((await other.train()).globalStep).toBe(3);
  });

  test('a run that failed lets the next in', async () => {
    const fails: TrainerCallback = {
      onStepBegin() {
        throw new Error('no');
      },
    };
    const { trainer, makeTrainer } = await make({ callbacks: [fails] });
    const error = await trainer.train().catch((thrown: AttuneError) => thrown);
    expect((error as AttuneError).code).toBe('CALLBACK_FAILED');
    const other = await makeTrainer();
    other.removeCallback(fails);
    await other.train();
  });
});
