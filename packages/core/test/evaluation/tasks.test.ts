import {
  AttuneError,
  createAttune,
  definePlugin,
  EvaluationTasks,
  generateTask,
  loglikelihoodTask,
  runEvaluationTask,
  SFTTrainer,
  silentLogger,
} from '@attune/core';
import type { TextTokenizer } from '@attune/core/text';
import { logLikelihoods } from '@attune/core/training';
import { describe, expect, test } from 'vitest';
import { idRows, minuteLlama } from '../trainer/support.js';

/** Letters a to p are the ids 1 to 16, a space is 0 in the middle of texts. No special tokens. */
const letters: TextTokenizer = {
  eosToken: null,
  eosTokenId: 16,
  encode: (text) => [...text].map((c) => (c === ' ' ? 0 : c.charCodeAt(0) - 96)),
  decode: (ids) =>
    Array.from(ids, (id) => (id === 0 ? ' ' : String.fromCharCode(96 + id))).join(''),
  applyChatTemplate: () => {
    throw new Error('no template');
  },
} as TextTokenizer;

const make = async () => {
  const attune = await createAttune({ backend: 'reference', logger: silentLogger });
  const model = await minuteLlama(attune, 1);
  return { attune, model };
};
type Model = Awaited<ReturnType<typeof make>>['model'];

/** log p of each id after those before it, by a forward pass of one row. */
async function stepwise(model: Model, ids: number[]): Promise<number[]> {
  const { engine } = model;
  const logits = engine.scope('test', () =>
    engine.noGrad(() =>
      model
        .forward({ inputIds: engine.tensor(Int32Array.from(ids), [1, ids.length], 'int32') })
        .reshape(ids.length, 17)
        .logSoftmax(),
    ),
  );
  const values = await logits.data();
  return ids.slice(1).map((id, t) => values[t * 17 + id]!);
}

describe('logLikelihoods', () => {
  test('sums over the continuation, whatever the batch; a space before it is its own', async () => {
    const { model } = await make();
    const requests = [
      { context: 'abc', continuation: 'de' },
      { context: 'ab ', continuation: 'c' },
      { context: 'f', continuation: 'ghijkl' },
      { context: '', continuation: 'ab' },
    ];
    const expected: number[] = [];
    for (const [ids, count] of [
      [[1, 2, 3, 4, 5], 2],
      [[1, 2, 0, 3], 2],
      [[6, 7, 8, 9, 10, 11, 12], 6],
      [[16, 1, 2], 2], // begun with the token that ends texts
    ] as [number[], number][]) {
      const steps = await stepwise(model, ids);
      expected.push(steps.slice(-count).reduce((a, b) => a + b, 0));
    }
    for (const batchSize of [1, 3, 8]) {
      const results = await logLikelihoods({ model, tokenizer: letters, batchSize }, requests);
      for (const [i, { logLikelihood }] of results.entries())
        expect(logLikelihood).toBeCloseTo(expected[i]!, 6);
      expect(results.map((r) => r.numTokens)).toEqual([2, 2, 6, 2]);
    }
  });

  test('knows what greedy decoding would have written', async () => {
    const { model } = await make();
    const prompt = letters.encode('abc');
    const { sequences } = await model.generate({
      inputIds: [[...prompt]],
      maxNewTokens: 4,
      eosTokenId: [],
    });
    const greedy = letters.decode!(sequences[0]!.slice(3));
    const other = `${greedy.slice(0, 3)}${greedy[3] === 'a' ? 'b' : 'a'}`;
    const results = await logLikelihoods({ model, tokenizer: letters, batchSize: 2 }, [
      { context: 'abc', continuation: greedy },
      { context: 'abc', continuation: other },
    ]);
    expect(results.map((r) => r.isGreedy)).toEqual([true, false]);
  });

  test('refuses what has no tokens or does not fit', async () => {
    const { model } = await make();
    const ask = (context: string, continuation: string) =>
      logLikelihoods({ model, tokenizer: letters, batchSize: 1 }, [{ context, continuation }]);
    await expect(ask('abc', '')).rejects.toThrow(/TASK_REQUEST: .*"abc" has no tokens/);
    await expect(ask('a', 'b'.repeat(64))).rejects.toThrow(
      /has 64 tokens, but the model has positions for 64/,
    );
    // A long context loses its beginning.
    const [long] = await ask('a'.repeat(100), 'b');
    const steps = await stepwise(model, [...Array(63).fill(1), 2]);
    expect(long!.logLikelihood).toBeCloseTo(steps.at(-1)!, 6);
  });
});

const choices = loglikelihoodTask({
  name: 'letters',
  rows: [
    { context: 'abc', choices: ['d', 'efg', 'h'], answer: 0 },
    { context: 'klm', choices: ['n', 'opa'], answer: [0, 1] },
  ],
});

describe('tasks by hand', () => {
  test('loglikelihoodTask picks the likeliest choice', async () => {
    const { model } = await make();
    const lls: number[] = [];
    for (const choice of ['d', 'efg', 'h'])
      lls.push(
        (await stepwise(model, letters.encode(`abc ${choice}`) as number[]))
          .slice(2)
          .reduce((a, b) => a + b, 0),
      );
    const isRight = lls[0] === Math.max(...lls) ? 1 : 0;
    const metrics = await runEvaluationTask(choices, { model, tokenizer: letters });
    expect(metrics.acc).toBe((isRight + 1) / 2);
    expect(Object.keys(metrics).sort()).toEqual([
      'acc',
      'accBytes',
      'accBytesStderr',
      'accNorm',
      'accNormStderr',
      'accStderr',
    ]);
  });

  test('generateTask compares what the model writes, up to a stop string', async () => {
    const { model } = await make();
    const { sequences } = await model.generate({
      inputIds: [[1, 2]],
      maxNewTokens: 5,
      eosTokenId: [],
    });
    const text = letters.decode!(sequences[0]!.slice(2));
    const task = (answer: string | string[], more: object = {}) =>
      runEvaluationTask(
        generateTask({
          name: 'say',
          rows: [{ prompt: 'ab', answer }],
          maxNewTokens: 5,
          filter: (t) => t,
          ...more,
        }),
        { model, tokenizer: letters },
      );
    expect(await task(text)).toEqual({ exactMatch: 1 });
    expect(await task(['zz', text])).toEqual({ exactMatch: 1 });
    expect(await task(`${text}x`)).toEqual({ exactMatch: 0 });
    expect(await task(text.slice(0, 2), { stopStrings: [text[2]!] })).toEqual({
      exactMatch: text.indexOf(text[2]!) === 2 ? 1 : 0,
    });
    expect(await task(text.toUpperCase(), { ignoreCase: true })).toEqual({ exactMatch: 1 });
  });

  test('refuse rows that cannot be', () => {
    expect(() => loglikelihoodTask({ name: 'x', rows: [] })).toThrow(
      /EVALUATION_TASK: task "x" has no rows/,
    );
    expect(() =>
      loglikelihoodTask({ name: 'x', rows: [{ context: 'a', choices: ['b'], answer: 1 }] }),
    ).toThrow(/row 0: answer 1 is none of its 1 choices/);
    expect(() => generateTask({ name: 'y', rows: [] })).toThrow(/task "y" has no rows/);
  });
});

describe('tasks of a trainer', () => {
  test('run with each evaluation, by name or as they are, and their metrics are logged', async () => {
    const acme = definePlugin({
      name: 'acme',
      version: '1.0.0',
      apiVersion: 1,
      register: (context) => context.add(EvaluationTasks, choices),
    });
    const attune = await createAttune({
      backend: 'reference',
      plugins: [acme],
      logger: silentLogger,
    });
    const model = await minuteLlama(attune);
    const trainer = new SFTTrainer({
      model,
      tokenizer: letters,
      trainDataset: idRows(4),
      evalDataset: idRows(2),
      evaluationTasks: [
        'letters',
        { name: 'fixed', evaluate: async () => ({ score: model.root.training ? 0 : 7 }) },
      ],
      args: {
        maxSteps: 2,
        evalStrategy: 'steps',
        evalSteps: 2,
        saveStrategy: 'no',
        metricForBestModel: 'letters_acc',
      },
    });
    await trainer.train();
    const row = trainer.state.logHistory.find((entry) => 'evalLoss' in entry)!;
    expect(row.evalFixedScore).toBe(7);
    expect(row.evalLettersAccNorm).toBeGreaterThanOrEqual(0);
    expect(trainer.state.bestMetric).toBe(row.evalLettersAcc);
    expect(await trainer.evaluate(idRows(1))).not.toHaveProperty('evalFixedScore');
  });

  test('without rows are an evaluation by themselves', async () => {
    const { model } = await make();
    const task = { name: 'fixed', evaluate: async () => ({ acc: 0.5 }) };
    const trainer = (metricForBestModel?: string) =>
      new SFTTrainer({
        model,
        tokenizer: letters,
        trainDataset: idRows(4),
        evaluationTasks: [task],
        args: {
          maxSteps: 2,
          evalStrategy: 'steps',
          evalSteps: 1,
          evalOnStart: true,
          saveStrategy: 'no',
          metricForBestModel,
        },
      });
    const judged = trainer('fixed_acc');
    await judged.train();
    const rows = judged.state.logHistory.filter((row) => 'evalFixedAcc' in row);
    expect(rows).toEqual([0, 1, 2].map((step) => ({ evalFixedAcc: 0.5, epoch: step, step })));
    expect(judged.state.bestMetric).toBe(0.5);
    expect(await judged.evaluate()).toEqual({ evalFixedAcc: 0.5 });
    expect(() => trainer('loss')).toThrow(
      /ARGUMENTS_INVALID: metricForBestModel is "evalLoss", but there is no evalDataset/,
    );
  });

  test('that cannot run are refused before the first update', async () => {
    const { model } = await make();
    const trainerFor = (tokenizer: TextTokenizer | null, name: string) =>
      new SFTTrainer({
        model,
        tokenizer,
        trainDataset: idRows(4),
        evalDataset: { math: idRows(2) },
        evaluationTasks: [{ name, evaluate: async () => ({ acc: 1 }) }],
        args: { maxSteps: 2, evalStrategy: 'epoch', saveStrategy: 'no' },
      });
    for (const [trainer, message] of [
      [trainerFor(null, 'letters'), /EVALUATION_TASK: task "letters" needs a tokenizer/],
      [trainerFor(letters, 'Not A Name'), /EVAL_SET_NAME/],
      [trainerFor(letters, 'math'), /EVAL_SET_NAME: two .* "math" and "math"/],
    ] as const) {
      await expect(trainer.train()).rejects.toThrow(message);
      expect(trainer.state.globalStep).toBe(0);
    }
  });

  test('that fail end the run with their name', async () => {
    const { model } = await make();
    const trainer = new SFTTrainer({
      model,
      tokenizer: letters,
      evalDataset: idRows(2),
      evaluationTasks: [{ name: 'broken', evaluate: () => Promise.reject(new Error('no data')) }],
    });
    const error = await trainer.evaluate().catch((e: unknown) => e);
    expect((error as AttuneError).message).toMatch(/EVALUATION_TASK: task "broken": no data/);
    expect(AttuneError.isInstance(error)).toBe(true);
    const blind = new SFTTrainer({ model, evalDataset: idRows(2), evaluationTasks: [choices] });
    await expect(blind.evaluate()).rejects.toThrow(/task "letters" needs a tokenizer/);
  });
});
