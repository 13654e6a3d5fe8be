import {
  type CallbackContext,
  Callbacks,
  createAttune,
  definePlugin,
  EarlyStoppingCallback,
  type EvalMetrics,
  inject,
  injectable,
  type Logger,
  ProgressCallback,
  SFTTrainer,
  silentLogger,
  TOKENS,
  type TrainerCallback,
} from '@attune/core';
import { describe, expect, test } from 'vitest';
import { idRows, ListLogger, minuteLlama } from '../trainer/support.js';

describe('EarlyStoppingCallback', () => {
  /** Plays evaluations to the callback as the Trainer does: the best metric moves afterwards. */
  function play(values: readonly number[], options: object, greaterIsBetter = false) {
    const callback = new EarlyStoppingCallback(options);
    const context = {
      args: { metricForBestModel: 'evalLoss', greaterIsBetter },
      state: { bestMetric: null as number | null, globalStep: 0 },
      control: { shouldTrainingStop: false },
      logger: silentLogger,
    };
    const counters = values.map((evalLoss) => {
      callback.onEvaluate(context as unknown as CallbackContext, { evalLoss } as EvalMetrics);
      const { bestMetric } = context.state;
      const isBest =
        bestMetric === null || (greaterIsBetter ? evalLoss > bestMetric : evalLoss < bestMetric);
      if (isBest) context.state.bestMetric = evalLoss;
      return context.control.shouldTrainingStop ? 'stop' : callback.counter;
    });
    return counters;
  }

  test('row 33: 1, .9, .95, .94 with patience 2 and threshold .01', () => {
    const options = { earlyStoppingPatience: 2, earlyStoppingThreshold: 0.01 };
    expect(play([1, 0.9, 0.95, 0.94, 0.96], options)).toEqual([0, 0, 1, 'stop', 'stop']);
  });

  test('an improvement below the threshold is none, though the best metric moves', () => {
    const options = { earlyStoppingPatience: 3, earlyStoppingThreshold: 0.1 };
    expect(play([1, 0.95, 0.9, 0.7], options)).toEqual([0, 1, 2, 0]);
    expect(play([0.1, 0.3, 0.2], options, true)).toEqual([0, 0, 1]);
  });

  test('NaN is no improvement', () => {
    expect(play([1, Number.NaN], {})).toEqual([0, 'stop']);
  });

  test('refuses a run that never evaluates, and a patience of 0', async () => {
    const attune = await createAttune({ backend: 'reference', logger: silentLogger });
    const trainer = new SFTTrainer({
      model: await minuteLlama(attune),
      trainDataset: idRows(2),
      callbacks: [new EarlyStoppingCallback()],
      args: { saveStrategy: 'no' },
    });
    await expect(trainer.train()).rejects.toThrow(/EARLY_STOPPING.*\n.*evalStrategy/);
    expect(() => new EarlyStoppingCallback({ earlyStoppingPatience: 0 })).toThrow(
      /earlyStoppingPatience is 0/,
    );
  });
});

@injectable()
class StopBelow implements TrainerCallback {
  constructor(@inject(TOKENS.Logger) private readonly logger: Logger) {}
  onEvaluate({ state, control }: CallbackContext, metrics: EvalMetrics) {
    this.logger.info(`step ${state.globalStep}: ${metrics.evalLoss}`);
    if (metrics.evalLoss < 100) control.shouldTrainingStop = true;
  }
}

test("a plugin's callback is found by its name, made for each trainer, and gets what it asks for", async () => {
  const acme = definePlugin({
    name: 'acme',
    version: '1.0.0',
    apiVersion: 1,
    register: (ctx) => ctx.add(Callbacks, { name: 'stop-below', useClass: StopBelow }),
  });
  const logger = new ListLogger();
  const attune = await createAttune({ backend: 'reference', plugins: [acme], logger });
  const trainer = new SFTTrainer({
    model: await minuteLlama(attune),
    trainDataset: idRows(4),
    evalDataset: idRows(2),
    args: { maxSteps: 9, evalStrategy: 'steps', evalSteps: 2, saveStrategy: 'no' },
    callbacks: ['stop-below'],
  });
  expect((await trainer.train()).globalStep).toBe(2);
  expect(logger.lines).toContainEqual(expect.stringMatching(/info: step 2: \d/));
});

describe('ProgressCallback', () => {
  const run = async (isTTY: boolean) => {
    const written: string[] = [];
    const attune = await createAttune({ backend: 'reference', logger: silentLogger });
    const trainer = new SFTTrainer({
      model: await minuteLlama(attune),
      trainDataset: idRows(4),
      evalDataset: idRows(2),
      args: {
        maxSteps: 4,
        loggingSteps: 2,
        evalStrategy: 'steps',
        evalSteps: 4,
        saveStrategy: 'no',
      },
      callbacks: [new ProgressCallback({ isTTY, write: (text) => written.push(text) })],
    });
    await trainer.train();
    return written;
  };

  test('draws one line over and over on a terminal', async () => {
    const written = await run(true);
    const steps = written.filter((text) => text.includes('/4 ['));
    expect(steps).toHaveLength(5); // after each update, and as the run ended
    expect(steps[0]).toMatch(/^\r.*1\/4 \[#{6}\.{18}\]/);
    expect(written.at(-1)).toBe('\n');
  });

  test('writes a plain line at each log elsewhere', async () => {
    const written = await run(false);
    expect(written).toHaveLength(3);
    expect(written[0]).toMatch(
      /^2\/4 \[#{12}\.{12}\] \d\d:\d\d < \d\d:\d\d [\d.]+k? tokens\/s {2}loss \d.* lr .*\n$/,
    );
    expect(written[2]).toMatch(/^step 4: eval loss \d/);
  });

  test('is there by name', async () => {
    const attune = await createAttune({ backend: 'reference', logger: silentLogger });
    expect(attune.registry(Callbacks).get('progress')).toBeInstanceOf(ProgressCallback);
  });
});
