import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type CausalLM,
  causalLmObjective,
  type EvalPrediction,
  ops,
  SFTTrainer,
  type SftTrainerOptions,
  Trainer,
} from '@attune/core';
import { describe, expect, test } from 'vitest';
import { float32Attune, idRows, minuteLlama, temporaryFolder } from '../trainer/support.js';

const make = async (options: Partial<SftTrainerOptions> = {}) => {
  const attune = await float32Attune();
  const model = await minuteLlama(attune);
  const trainer = new SFTTrainer({
    model,
    trainDataset: idRows(4),
    evalDataset: idRows(7),
    ...options,
    args: {
      outputDir: await temporaryFolder(),
      perDeviceTrainBatchSize: 2,
      maxSteps: 4,
      saveStrategy: 'no',
      ...options.args,
    },
  });
  return { trainer, model };
};

/** Logits of one row, [T][V], by a forward pass of its own. */
async function logitsOf(model: CausalLM, ids: readonly number[]): Promise<number[][]> {
  const { engine } = model;
  const tensor = engine.scope('test', () =>
    engine.noGrad(() =>
      model.forward({ inputIds: engine.tensor(Int32Array.from(ids), [1, ids.length], 'int32') }),
    ),
  );
  const values = [...(await tensor.data())];
  return ids.map((_, t) => values.slice(t * 17, (t + 1) * 17));
}

const argmax = (row: readonly number[]) => row.indexOf(Math.max(...row));

describe('metrics', () => {
  test('do not depend on the batch size', async () => {
    const { trainer } = await make();
    const of = async (perDeviceEvalBatchSize: number) => {
      const { trainer: other } = await make({ args: { perDeviceEvalBatchSize } });
      return other.evaluate();
    };
    const one = await trainer.evaluate();
    for (const size of [1, 3, 7]) {
      const metrics = await of(size);
      expect(metrics.evalLoss).toBeCloseTo(one.evalLoss, 6);
      expect(metrics.evalPerplexity).toBeCloseTo(Math.exp(metrics.evalLoss), 12);
    }
  });

  test('have a perplexity only where the loss is a log-likelihood', async () => {
    const seen: string[] = [];
    for (const args of [{ labelSmoothingFactor: 0.1 }, { lossType: 'dft' as const }]) {
      const { trainer } = await make({ args, evalDataset: { math: idRows(3) } });
      seen.push(...Object.keys(await trainer.evaluate()));
    }
    const { trainer, model } = await make();
    const { isLogLikelihood: _, ...objective } = trainer.objective;
    const own = new Trainer({ model, objective, evalDataset: idRows(3) });
    seen.push(...Object.keys(await own.evaluate()));
    seen.push(...Object.keys((await own.predict(idRows(2))).metrics));
    expect(seen).toEqual(expect.arrayContaining(['evalLoss', 'evalMathLoss', 'testLoss']));
    expect(seen.filter((name) => /perplexity/i.test(name))).toEqual([]);
  });

  test('a perplexity that there is not cannot say what is best', async () => {
    const best = { metricForBestModel: 'eval_perplexity', evalStrategy: 'steps' } as const;
    await expect(make({ args: { ...best, labelSmoothingFactor: 0.1 } })).rejects.toThrow(
      /ARGUMENTS_INVALID: metricForBestModel is "evalPerplexity".*no log-likelihood/,
    );
    const { trainer } = await make({ args: best });
    expect(trainer.args.metricForBestModel).toBe('evalPerplexity');
    const named = { computeMetrics: () => ({ perplexity: 3 }) };
    await make({ ...named, args: { ...best, labelSmoothingFactor: 0.1 } });
  });

  test('of several sets carry their names, and all rows together give evalLoss', async () => {
    const [math, code] = [idRows(3), idRows(7).slice(3)];
    const { trainer } = await make({ evalDataset: { math, code_2: code } });
    const metrics = await trainer.evaluate();
    const { trainer: plain } = await make();
    expect(metrics.evalLoss).toBeCloseTo((await plain.evaluate()).evalLoss, 6);
    expect(metrics.evalMathLoss).toBeCloseTo((await plain.evaluate(math)).evalLoss, 6);
    expect(metrics.evalCode2Loss).toBeCloseTo((await plain.evaluate(code)).evalLoss, 6);
    expect(metrics.evalMathPerplexity).toBeCloseTo(Math.exp(metrics.evalMathLoss!), 12);
  });

  test('of several sets decide what is best, and stand in trainer_state.json as transformers writes them', async () => {
    const outputDir = await temporaryFolder();
    const { trainer } = await make({
      evalDataset: { math: idRows(2), heldOut: idRows(3) },
      args: {
        outputDir,
        evalStrategy: 'steps',
        evalSteps: 2,
        saveStrategy: 'steps',
        saveSteps: 2,
        metricForBestModel: 'eval_math_loss',
        maxSteps: 2,
      },
    });
    await trainer.train();
    const state = JSON.parse(
      await readFile(join(outputDir, 'checkpoint-2', 'trainer_state.json'), 'utf8'),
    );
    expect(state.best_metric).toBe(state.log_history[0].eval_math_loss);
    expect(Object.keys(state.log_history[0])).toEqual(
      expect.arrayContaining(['eval_loss', 'eval_math_runtime', 'eval_held_out_perplexity']),
    );
  });

  test('a name that would not come back from a file is refused', async () => {
    const { trainer } = await make({ evalDataset: { GSM8K: idRows(2) } });
    await expect(trainer.evaluate()).rejects.toThrow(/EVAL_SET_NAME.*GSM8K[\s\S]*gsm8k/);
    await expect(trainer.evaluate({})).rejects.toThrow(/NO_ROWS.*no set/);
  });
});

describe('token accuracy', () => {
  const various = Array.from({ length: 24 }, (_, i) => ({
    input_ids: Array.from({ length: 16 }, (_, t) => (i * 7 + t * t * 3 + i * t) % 17),
  }));
  // Few enough labels for the head to see their positions alone.
  const masked = various.map(({ input_ids }) => ({
    input_ids,
    labels: input_ids.map((id, t) => (t > 9 ? id : -100)),
  }));

  test.each([
    ['all tokens', various],
    ['few of them', masked],
  ])('is that of the logits, in the log and in an evaluation: %s', async (_, rows) => {
    const { trainer, model } = await make({
      trainDataset: rows,
      args: { maxSteps: 1, learningRate: 0, loggingSteps: 1, gradientAccumulationSteps: 12 },
    });
    let right = 0;
    let asked = 0;
    for (const row of rows) {
      const { input_ids: ids, labels = ids } = row as { input_ids: number[]; labels?: number[] };
      const logits = await logitsOf(model, ids);
      for (let t = 1; t < ids.length; t++) {
        if (labels[t] === -100) continue;
        asked++;
        if (argmax(logits[t - 1]!) === labels[t]) right++;
      }
    }
    expect(right).toBeGreaterThan(0);
    expect((await trainer.evaluate(rows)).evalMeanTokenAccuracy).toBeCloseTo(right / asked, 12);
    await trainer.train();
    const row = trainer.state.logHistory.find((entry) => 'loss' in entry)!;
    expect(row.meanTokenAccuracy).toBeCloseTo(right / asked, 12);
  });
});

describe('evalOnStart and evalDelay', () => {
  const stepsOf = async (args: SftTrainerOptions['args']) => {
    const { trainer } = await make({ args });
    const steps: number[] = [];
    trainer.on('evaluate', ({ step }) => steps.push(step));
    await trainer.train();
    return steps;
  };

  test('evaluate before the first update, and not before the delay', async () => {
    const steps = { evalStrategy: 'steps', evalSteps: 1 } as const;
    expect(await stepsOf({ ...steps, evalOnStart: true })).toEqual([0, 1, 2, 3, 4]);
    expect(await stepsOf({ evalOnStart: true })).toEqual([0]);
    expect(await stepsOf({ ...steps, evalDelay: 3 })).toEqual([3, 4]);
    // Four updates are two epochs.
    expect(await stepsOf({ evalStrategy: 'epoch', evalDelay: 1.5 })).toEqual([4]);
  });

  test('names that would be logged alike are refused before the first update', async () => {
    const { trainer } = await make({
      evalDataset: { aB: idRows(2), a_b: idRows(3) },
      args: { evalStrategy: 'steps', evalSteps: 4 },
    });
    await expect(trainer.train()).rejects.toThrow(
      /EVAL_SET_NAME: two evaluation sets or tasks, "aB" and "a_b", would both be logged as evalAB/,
    );
    expect(trainer.state.globalStep).toBe(0);
  });

  test('need rows', async () => {
    await expect(make({ evalDataset: undefined, args: { evalOnStart: true } })).rejects.toThrow(
      /ARGUMENTS_INVALID: evalOnStart is true, but there is no evalDataset/,
    );
  });
});

describe('computeMetrics', () => {
  /** Share of tokens that are the most probable ones, as scripts for transformers compute it. */
  const accuracy = ({ predictions, labelIds }: EvalPrediction) => {
    const [rows, width] = labelIds.shape as [number, number];
    let right = 0;
    let asked = 0;
    for (let n = 0; n < rows; n++)
      for (let t = 1; t < width; t++) {
        const label = labelIds.data[n * width + t]!;
        if (label === -100) continue;
        asked++;
        if (predictions.data[n * width + t - 1] === label) right++;
      }
    return { accuracy: right / asked, tokens: asked };
  };

  test('gets what preprocessLogitsForMetrics left, aligned as in transformers', async () => {
    const rows = idRows(7);
    const { trainer, model } = await make({
      computeMetrics: accuracy,
      preprocessLogitsForMetrics: (logits) => ops.argmax(logits),
      args: { perDeviceEvalBatchSize: 3 },
    });
    const metrics = await trainer.evaluate();
    let right = 0;
    let asked = 0;
    for (const { input_ids: ids } of rows) {
      const logits = await logitsOf(model, ids);
      ids.slice(1).forEach((id, t) => {
        asked++;
        if (argmax(logits[t]!) === id) right++;
      });
    }
    expect(metrics.evalTokens).toBe(asked);
    expect(metrics.evalAccuracy).toBe(right / asked);
    expect(trainer.state.logHistory.at(-1)).toMatchObject({ evalAccuracy: right / asked });
  });

  test('names what is wrong with what it returns, and what it throws', async () => {
    const { trainer } = await make({ computeMetrics: () => ({ f1: 'high' }) as never });
    await expect(trainer.evaluate()).rejects.toThrow(/COMPUTE_METRICS: .*"f1": "high"/);
    const { trainer: thrower } = await make({
      computeMetrics: () => {
        throw new Error('no labels');
      },
    });
    await expect(thrower.evaluate()).rejects.toThrow(
      /COMPUTE_METRICS: computeMetrics failed: no labels/,
    );
  });

  test('is refused where the objective does not say what it predicts', async () => {
    const { prediction: _, ...silent } = causalLmObjective({ maxLength: 32 });
    const attune = await float32Attune();
    const trainer = new Trainer({
      model: await minuteLlama(attune),
      objective: silent,
      evalDataset: idRows(2),
      computeMetrics: accuracy,
    });
    await expect(trainer.evaluate()).rejects.toThrow(/PREDICTIONS: objective "causal-lm"/);
  });
});

describe('predict', () => {
  test('gives logits and labels of every row, padded with -100, and metrics', async () => {
    const rows = idRows(5); // 3 to 6 tokens
    const { trainer, model } = await make({ args: { perDeviceEvalBatchSize: 2, maxLength: 6 } });
    const { predictions, labelIds, metrics } = await trainer.predict(rows);
    expect(predictions.shape).toEqual([5, 6, 17]);
    expect(labelIds.shape).toEqual([5, 6]);
    for (const [n, { input_ids: ids }] of rows.entries()) {
      const logits = await logitsOf(model, ids);
      ids.forEach((id, t) => {
        expect(labelIds.data[n * 6 + t]).toBe(t === 0 ? -100 : id);
        const row = predictions.data.subarray((n * 6 + t) * 17, (n * 6 + t + 1) * 17);
        for (const [v, x] of row.entries()) expect(x).toBeCloseTo(logits[t]![v]!, 5);
      });
      for (let t = ids.length; t < 6; t++) expect(labelIds.data[n * 6 + t]).toBe(-100);
    }
    expect(metrics.testLoss).toBeCloseTo((await trainer.evaluate(rows)).evalLoss, 6);
    expect((await trainer.predict(rows, 'probe')).metrics.probeLoss).toBe(metrics.testLoss);
  });
});
