import { setImmediate as turn } from 'node:timers/promises';
import {
  createAttune,
  defineCallback,
  type Engine,
  SFTTrainer,
  type SftArgumentsInput,
  silentLogger,
  type TrainerCallback,
  type TrainLogs,
} from '@attune/core';
import { type OpCall, ReferenceBackend } from '@attune/core/backend';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { backendPlugin, idRows, ListLogger, minuteLlama, temporaryFolder } from './support.js';

const quiet = { saveStrategy: 'no', shuffle: false, loggingSteps: 1 } as const;

async function make(
  rows: object[],
  args: SftArgumentsInput,
  more: {
    callbacks?: (TrainerCallback | string)[];
    evalDataset?: object[];
    backend?: ReferenceBackend;
    logger?: ListLogger;
  } = {},
) {
  const { callbacks = [], evalDataset, backend = new ReferenceBackend(), logger } = more;
  const attune = await createAttune({
    plugins: [backendPlugin('test', () => backend)],
    logger: logger ?? silentLogger,
  });
  const model = await minuteLlama(attune);
  const trainer = new SFTTrainer({
    model,
    trainDataset: rows,
    evalDataset,
    args: { ...quiet, ...args },
    callbacks,
  });
  return { trainer, model, attune, engine: attune.engine, backend };
}

/** The float64 gradients that an update finds. */
async function gradients(
  rows: object[],
  batchSize: number,
  accumulation: number,
  args: SftArgumentsInput = {},
) {
  let grads: number[] = [];
  let loss = Number.NaN;
  const { trainer, backend } = await make(
    rows,
    {
      maxSteps: 1,
      perDeviceTrainBatchSize: batchSize,
      gradientAccumulationSteps: accumulation,
      ...args,
    },
    {
      callbacks: [
        defineCallback({
          onPreOptimizerStep({ model }) {
            grads = [...model.root.namedParameters()].flatMap(([, parameter]) => [
              ...backend.peek(parameter.tensor.grad!.operand),
            ]);
          },
          onLog(_, logs) {
            loss = logs.loss ?? loss;
          },
        }),
      ],
    },
  );
  await trainer.train();
  return { grads, loss };
}

test('gradient checkpointing changes no gradient', async () => {
  const rows = idRows(4);
  const plain = await gradients(rows, 2, 2);
  expect(await gradients(rows, 2, 2, { gradientCheckpointing: true })).toEqual(plain);
  expect(plain.grads.some((g) => g !== 0)).toBe(true);
});

describe('accumulation', () => {
  test('k micro-batches of b rows give the gradient of one batch of k b rows', async () => {
    const id = fc.integer({ min: 0, max: 16 });
    const row = fc.array(id, { minLength: 2, maxLength: 6 }).chain((input_ids) =>
      fc
        .array(fc.boolean(), { minLength: input_ids.length, maxLength: input_ids.length })
        .map((learned) => ({
          input_ids,
          // The last label always counts, so that no row is left out and batches stay aligned.
          labels: input_ids.map((v, i) => (learned[i] || i === input_ids.length - 1 ? v : -100)),
        })),
    );
    const shapes = fc.integer({ min: 1, max: 3 }).chain((b) =>
      fc.integer({ min: 1, max: 4 }).chain((k) =>
        fc.record({
          b: fc.constant(b),
          k: fc.constant(k),
          rows: fc.array(row, { minLength: k * b, maxLength: k * b }),
        }),
      ),
    );
    await fc.assert(
      fc.asyncProperty(shapes, async ({ b, k, rows }) => {
        const parts = await gradients(rows, b, k);
        const whole = await gradients(rows, k * b, 1);
        expect(parts.grads).toHaveLength(whole.grads.length);
        for (const [i, grad] of whole.grads.entries())
          expect(Math.abs(parts.grads[i]! - grad)).toBeLessThan(1e-9);
        expect(Math.abs(parts.loss - whole.loss)).toBeLessThan(1e-6);
      }),
      { numRuns: 12, seed: 7 },
    );
  });
});

describe('callbacks', () => {
  test('are called in the order of transformers, and awaited', async () => {
    const calls: string[] = [];
    const note = (name: string) => async () => {
      await new Promise((resolve) => setTimeout(resolve, 1));
      calls.push(name);
    };
    const spy = defineCallback({
      onInitEnd: () => void calls.push('initEnd'),
      onTrainBegin: note('trainBegin'),
      onEpochBegin: note('epochBegin'),
      onStepBegin: note('stepBegin'),
      onSubstepEnd: note('substepEnd'),
      onPreOptimizerStep: note('preOptimizerStep'),
      onOptimizerStep: note('optimizerStep'),
      onStepEnd: note('stepEnd'),
      onLog: (_, logs) =>
        void calls.push(
          `log ${'loss' in logs ? 'train' : 'evalLoss' in logs ? 'eval' : 'summary'}`,
        ),
      onEvaluate: note('evaluate'),
      onSave: note('save'),
      onEpochEnd: note('epochEnd'),
      onTrainEnd: note('trainEnd'),
    });
    const { trainer } = await make(
      idRows(3),
      {
        outputDir: await temporaryFolder(),
        numTrainEpochs: 1,
        perDeviceTrainBatchSize: 1,
        gradientAccumulationSteps: 2,
        evalStrategy: 'steps',
        evalSteps: 2,
        saveStrategy: 'steps',
        saveSteps: 2,
      },
      { callbacks: [spy], evalDataset: idRows(2) },
    );
    await trainer.train();
    expect(calls).toEqual([
      'initEnd',
      'trainBegin',
      'epochBegin',
      'stepBegin',
      'substepEnd',
      'preOptimizerStep',
      'optimizerStep',
      'stepEnd',
      'log train',
      'stepBegin',
      'preOptimizerStep',
      'optimizerStep',
      'stepEnd',
      'log train',
      'log eval',
      'evaluate',
      'save',
      'epochEnd',
      'log summary',
      'trainEnd',
    ]);
  });

  test('may stop a run, an epoch, and ask for a log', async () => {
    const steps: number[] = [];
    const run = async (callback: TrainerCallback) => {
      steps.length = 0;
      const { trainer } = await make(
        idRows(8),
        { numTrainEpochs: 2, perDeviceTrainBatchSize: 2, loggingSteps: 1000 },
        { callbacks: [callback] },
      );
      trainer.on('log', ({ step }) => steps.push(step));
      return (await trainer.train()).globalStep;
    };
    const stop = defineCallback({
      onStepEnd({ state, control }) {
        if (state.globalStep === 3) control.shouldTrainingStop = true;
      },
    });
    expect(await run(stop)).toBe(3);
    const skip = defineCallback({
      onStepEnd({ state, control }) {
        control.shouldLog = true;
        if (state.globalStep === 2) control.shouldEpochStop = true;
      },
    });
    expect(await run(skip)).toBe(6);
    expect(steps).toEqual([1, 2, 3, 4, 5, 6]);
  });

  test('an error of a callback ends the run; one of a listener does not', async () => {
    const bad = defineCallback({
      onStepEnd() {
        throw new Error('callback');
      },
    });
    const args = { maxSteps: 2, outputDir: await temporaryFolder() };
    const { trainer } = await make(idRows(2), args, { callbacks: [bad] });
    await expect(trainer.train()).rejects.toThrow('callback');
    const logger = new ListLogger();
    const other = await make(idRows(2), { maxSteps: 2 }, { logger });
    other.trainer
      .on('step', () => {
        throw new Error('listener');
      })
      .on('log', async () => {
        throw new Error('later');
      });
    expect((await other.trainer.train()).globalStep).toBe(2);
    expect(
      logger.lines.filter((l) => l.includes('listener of "step" failed: listener')),
    ).toHaveLength(2);
    expect(logger.lines.filter((l) => l.includes('listener of "log" failed: later'))).toHaveLength(
      2,
    );
  });
});

describe('promises of the loop', () => {
  test('no read-back between logs; after a step, as many tensors and bytes as before', async () => {
    const seen: { readbacks: number; tensors: number; bytes: number }[] = [];
    const watch = (engine: Engine, backend: ReferenceBackend) => () =>
      void seen.push({
        readbacks: backend.stats.readbacks,
        tensors: engine.liveTensors,
        bytes: backend.stats.liveBytes,
      });
    const { trainer, engine, backend } = await make(idRows(8), {
      maxSteps: 10,
      perDeviceTrainBatchSize: 2,
      gradientAccumulationSteps: 2,
      loggingSteps: 5,
    });
    const before = { tensors: engine.liveTensors, bytes: backend.stats.liveBytes };
    trainer.on('step', watch(engine, backend));
    await trainer.train();
    const [, ...steady] = seen.map(({ tensors, bytes }) => `${tensors} ${bytes}`);
    expect(new Set(steady)).toHaveLength(1);
    expect(seen[4]!.readbacks - seen[0]!.readbacks).toBe(0);
    expect(seen[9]!.readbacks - seen[5]!.readbacks).toBe(0);
    expect(seen[5]!.readbacks - seen[4]!.readbacks).toBe(1);
    // Weights lie in an arena now, padded to 256 bytes each; gradients and moments are gone.
    expect(engine.liveTensors).toBe(before.tensors);
    expect(backend.stats.liveBytes - before.bytes).toBeLessThan(13 * 256);
  });

  test('no buffer reaches a tenth of tokens x vocabulary, whichever weights learn', async () => {
    let largest = 0;
    const backend = new ReferenceBackend();
    const alloc = backend.alloc.bind(backend);
    backend.alloc = (bytes, dtype) => {
      largest = Math.max(largest, bytes);
      return alloc(bytes, dtype);
    };
    const attune = await createAttune({
      plugins: [backendPlugin('test', () => backend)],
      logger: silentLogger,
    });
    const model = await minuteLlama(attune, 0, { vocab_size: 2048 });
    const [rows, length] = [24, 32];
    const ids = Array.from({ length }, (_, i) => i * 60);
    const trainer = new SFTTrainer({
      model,
      trainDataset: Array.from({ length: rows }, () => ({ input_ids: ids, labels: ids })),
      args: { ...quiet, maxSteps: 1, perDeviceTrainBatchSize: rows },
    });
    await trainer.train();
    const logits = rows * length * model.config.vocabSize * 4;
    expect(largest).toBeLessThan(logits / 10);
  });

  test('one seed, one result; the order of rows, too', async () => {
    const run = async (seed: number) => {
      const losses: number[] = [];
      const { trainer } = await make(idRows(12), {
        maxSteps: 6,
        perDeviceTrainBatchSize: 2,
        seed,
        shuffle: true,
      });
      trainer.on('log', ({ logs }) => losses.push(logs.loss));
      await trainer.train();
      return losses;
    };
    const first = await run(1);
    expect(await run(1)).toEqual(first);
    expect(await run(2)).not.toEqual(first);
  });

  test('at most two updates are in flight', async () => {
    let asked = 0;
    let answered = 0;
    let most = 0;
    class Slow extends ReferenceBackend {
      override sync(): Promise<void> {
        most = Math.max(most, ++asked - answered);
        return this.#answer();
      }
      /**
       * So many turns of the event loop later: a run that does not wait for it has ended by then.
       */
      async #answer(): Promise<void> {
        for (let i = 0; i < 100; i++) await turn();
        answered++;
      }
    }
    const { trainer } = await make(
      idRows(4),
      { maxSteps: 8, loggingSteps: 100 },
      { backend: new Slow() },
    );
    await trainer.train();
    expect(most).toBe(3);
    expect(answered).toBe(asked);
  });

  test('a signal ends the run after the update in progress', async () => {
    const { trainer } = await make(idRows(4), { maxSteps: 50, outputDir: await temporaryFolder() });
    const controller = new AbortController();
    trainer.on('step', ({ step }) => step === 3 && controller.abort());
    expect((await trainer.train({ signal: controller.signal })).globalStep).toBe(3);
  });
});

/** A backend on which something goes wrong at one update. */
class Faulty extends ReferenceBackend {
  losses = 0;
  constructor(
    private readonly at: number,
    private readonly spoil: (call: OpCall, backend: Faulty) => void,
  ) {
    super();
  }
  override dispatch(call: OpCall): void {
    super.dispatch(call);
    if (call.op === 'crossEntropyInto' && ++this.losses === this.at) this.spoil(call, this);
  }
}

describe('numbers that are not finite', () => {
  test('an update is skipped on the device, told and counted, and not averaged away', async () => {
    const logger = new ListLogger();
    const logs: TrainLogs[] = [];
    const backend = new Faulty(2, (call, self) => {
      for (const out of call.outputs) self.poke(out, self.peek(out).fill(Number.NaN));
    });
    const { trainer, model } = await make(
      idRows(4),
      { maxSteps: 4, loggingSteps: 2 },
      { backend, logger },
    );
    const weights: number[][] = [];
    const first = [...model.root.namedParameters()][0]![1];
    trainer.on('step', () => weights.push([...backend.peek(first.tensor.operand)]));
    trainer.on('log', (event) => logs.push(event.logs));
    const { metrics } = await trainer.train();
    expect(weights[1]).toEqual(weights[0]);
    expect(weights[2]).not.toEqual(weights[1]);
    expect(logs[0]).toMatchObject({
      skippedSteps: 1,
      loss: expect.any(Number),
      gradNorm: Number.NaN,
    });
    expect(logs[0]!.loss).toBeGreaterThan(0);
    expect(logs[1]!.skippedSteps).toBeUndefined();
    expect(metrics.skippedSteps).toBe(1);
    expect(logger.lines.filter((l) => /warn: update \d: .*not finite/.test(l))).toHaveLength(1);
  });

  test('a window without one finite update has no loss', async () => {
    const backend = new Faulty(1, (call, self) => {
      self.poke(call.outputs[0]!, self.peek(call.outputs[0]!).fill(Number.POSITIVE_INFINITY));
      self.poke(call.outputs[1]!, self.peek(call.outputs[1]!).fill(Number.NaN));
    });
    const { trainer } = await make(idRows(4), { maxSteps: 1 }, { backend });
    let loss = 0;
    trainer.on('log', ({ logs }) => {
      loss = logs.loss;
    });
    await trainer.train();
    expect(loss).toBeNaN();
  });
});

test('profile: a backend without timestamps says so, and the trainer can go on', async () => {
  const { trainer } = await make(idRows(4), { maxSteps: 1 });
  await expect(trainer.profile({ steps: 1, warmupSteps: 0 })).rejects.toThrow(
    /PROFILE_UNSUPPORTED: backend "reference"/,
  );
  expect((await trainer.train()).globalStep).toBe(1);
});

describe('evaluation', () => {
  test('row 31: weighs every token alike, whatever the batch size', async () => {
    const of = async (perDeviceEvalBatchSize: number) => {
      const { trainer, model } = await make(
        [],
        { perDeviceEvalBatchSize },
        { evalDataset: idRows(5) },
      );
      model.root.train();
      const metrics = await trainer.evaluate();
      expect(model.root.training).toBe(true);
      return metrics;
    };
    const [two, three] = [await of(2), await of(3)];
    expect(two.evalLoss).toBeCloseTo(three.evalLoss, 6);
    expect(two.evalPerplexity).toBeCloseTo(Math.exp(two.evalLoss), 10);
    expect(two.evalSamplesPerSecond).toBeGreaterThan(0);
    expect(two.evalTokensPerSecond).toBeGreaterThan(two.evalSamplesPerSecond);
  });

  test('of other rows, before any training; its row is in the history', async () => {
    const { trainer } = await make(idRows(3), {});
    const metrics = await trainer.evaluate(idRows(2));
    expect(trainer.state.logHistory).toEqual([{ ...metrics, step: 0, epoch: 0 }]);
    await expect((await make(idRows(3), {})).trainer.evaluate()).rejects.toThrow(/NO_ROWS/);
  });
});
