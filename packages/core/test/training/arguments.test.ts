import {
  causalLmObjective,
  createAttune,
  type Objective,
  SFTTrainer,
  silentLogger,
  type TokenExample,
  Trainer,
  type TrainingArgumentsInput,
} from '@attune/core';
import { parseTrainingArguments, trainingArgumentsSchema } from '@attune/core/training';
import { describe, expect, test } from 'vitest';
import { planTraining } from '../../src/trainer/run/countUpdates.js';
import { fixtureJson, ListLogger, minuteLlama } from '../trainer/support.js';

const parse = (input: object, defaults = {}) =>
  parseTrainingArguments(trainingArgumentsSchema, input as Record<string, unknown>, defaults);

describe('defaults are those of transformers', () => {
  test('all of them', () => {
    expect(parse({})).toMatchObject({
      numTrainEpochs: 3,
      maxSteps: -1,
      perDeviceTrainBatchSize: 8,
      gradientAccumulationSteps: 1,
      learningRate: 5e-5,
      weightDecay: 0,
      adamBeta1: 0.9,
      adamBeta2: 0.999,
      adamEpsilon: 1e-8,
      maxGradNorm: 1,
      lrSchedulerType: 'linear',
      loggingSteps: 500,
      evalStrategy: 'no',
      evalSteps: 500,
      saveStrategy: 'steps',
      saveSteps: 500,
      saveTotalLimit: null,
      metricForBestModel: null,
      seed: 42,
    });
  });

  test("a trainer's own defaults lie below what is written; undefined is not written", () => {
    const args = parse(
      { learningRate: undefined, loggingSteps: 3 },
      { learningRate: 1, loggingSteps: 7 },
    );
    expect([args.learningRate, args.loggingSteps]).toEqual([1, 3]);
  });

  test('snake_case is understood', () => {
    expect(parse({ max_steps: 5, adam_beta1: 0.8 })).toMatchObject({ maxSteps: 5, adamBeta1: 0.8 });
  });

  test('evalSteps follows loggingSteps; the metric of the best model is spelled one way', () => {
    expect(parse({ loggingSteps: 4 }).evalSteps).toBe(4);
    const best = { loadBestModelAtEnd: true, evalStrategy: 'steps', evalSteps: 5, saveSteps: 10 };
    expect(parse(best)).toMatchObject({ metricForBestModel: 'evalLoss', greaterIsBetter: false });
    for (const metricForBestModel of ['accuracy', 'eval_accuracy', 'evalAccuracy'])
      expect(parse({ ...best, metricForBestModel })).toMatchObject({
        metricForBestModel: 'evalAccuracy',
        greaterIsBetter: true,
      });
  });
});

describe('what is refused, in the spelling of the user', () => {
  const cases: [string, object, RegExp][] = [
    [
      'an unknown option',
      { learningrate: 1 },
      /no option "learningrate"\. Did you mean "learningRate"/,
    ],
    ['an unknown option in snake_case', { learning_rat: 1 }, /no option "learning_rat"/],
    [
      'one option in two spellings',
      { maxSteps: 1, max_steps: 2 },
      /"maxSteps" and "max_steps" are the same/,
    ],
    ['a negative rate', { learningRate: -1 }, /learningRate is -1/],
    [
      'a rate that is text',
      { learning_rate: '1e-4' },
      /learning_rate is "1e-4": .*expected number/,
    ],
    ['NaN', { learningRate: Number.NaN }, /learningRate is null|learningRate is NaN/],
    ['a batch of none', { perDeviceTrainBatchSize: 0 }, /perDeviceTrainBatchSize is 0/],
    [
      'half an accumulation',
      { gradientAccumulationSteps: 1.5 },
      /gradientAccumulationSteps is 1.5/,
    ],
    ['maxSteps 0', { maxSteps: 0 }, /maxSteps is 0; expected -1 or a count/],
    [
      'a scheduler that is none',
      { lrSchedulerType: 'cos' },
      /unknown learning-rate schedule "cos"\..*linear, cosine, /s,
    ],
    [
      'an option of another schedule',
      { lrSchedulerType: 'cosine', lrSchedulerKwargs: { power: 2 } },
      /lrSchedulerKwargs.power is not an option of the schedule "cosine".*numCycles/s,
    ],
    [
      'a schedule of evaluations without any',
      { lrSchedulerType: 'reduce_lr_on_plateau' },
      /follows evaluations.*evalStrategy/s,
    ],
    ['a scheduler option that is none', { lrSchedulerKwargs: { cycles: 2 } }, /lrSchedulerKwargs/],
    ['a share of warmup above 1', { warmupRatio: 2 }, /warmupRatio is 2/],
    ['warmup of 1.5 updates', { warmupSteps: 1.5 }, /warmupSteps is 1.5/],
    [
      'more warmup than updates',
      { warmupSteps: 20, maxSteps: 10 },
      /warmupSteps 20 is more than maxSteps 10/,
    ],
    ['a strategy that is none', { evalStrategy: 'always' }, /evalStrategy is "always"/],
    [
      'the best model without evaluation',
      { loadBestModelAtEnd: true },
      /evalStrategy is "no" and saveStrategy is "steps"/,
    ],
    [
      'the best model with strategies that differ',
      { loadBestModelAtEnd: true, evalStrategy: 'epoch' },
      /evalStrategy is "epoch" and saveStrategy is "steps"/,
    ],
    [
      'the best model with checkpoints between evaluations',
      { loadBestModelAtEnd: true, evalStrategy: 'steps', evalSteps: 20, saveSteps: 30 },
      /multiple of evalSteps, but they are 30 and 20\.\n.*saveSteps: 40/,
    ],
    [
      'saving the best without evaluation',
      { saveStrategy: 'best' },
      /saveStrategy is "best", but nothing is evaluated/,
    ],
  ];
  for (const [name, input, message] of cases)
    test(name, () => {
      expect(() => parse(input)).toThrow(message);
    });
});

describe('what a trainer refuses', () => {
  const make = async (options: object, args: object = {}, logger = silentLogger) => {
    const attune = await createAttune({ backend: 'reference', logger });
    return new SFTTrainer({ model: await minuteLlama(attune), args, ...options });
  };

  test('evaluation without rows for it', async () => {
    await expect(make({}, { evalStrategy: 'steps' })).rejects.toThrow(/no evalDataset/);
  });

  test('more tokens than the model has positions; a default is lowered instead', async () => {
    await expect(make({}, { maxLength: 65 })).rejects.toThrow(
      /MAX_LENGTH: maxLength is 65, .*64 tokens/,
    );
    const logger = new ListLogger();
    expect((await make({}, {}, logger)).args.maxLength).toBe(64);
    expect(logger.lines).toEqual([expect.stringMatching(/info: maxLength is 64.*default 1024/)]);
  });

  test('a peftConfig without the plugin', async () => {
    await expect(make({ peftConfig: { peftType: 'LORA' } })).rejects.toThrow(
      /PEFT_MISSING.*\n.*@attune\/peft/,
    );
  });

  test('a callback that nobody added', async () => {
    await expect(make({ callbacks: ['progres'] })).rejects.toThrow(/Did you mean "progress"/);
  });

  test('an option of the trainer that does not exist', async () => {
    const attune = await createAttune({ backend: 'reference', logger: silentLogger });
    const model = await minuteLlama(attune);
    expect(() => new SFTTrainer({ model, trainDatset: [] } as object as never)).toThrow(
      'UNKNOWN_OPTION: SFTTrainer: there is no option "trainDatset". Did you mean "trainDataset"?',
    );
    await attune.dispose();
  });

  test('no rows, empty rows, rows with nothing to learn, a frozen model', async () => {
    const train = async (trainDataset: object[] | undefined, args = {}) =>
      (await make({ trainDataset }, { maxSteps: 1, saveStrategy: 'no', ...args })).train();
    await expect(train(undefined)).rejects.toThrow(/NO_ROWS: train\(\) needs training rows/);
    await expect(train([])).rejects.toThrow(/NO_ROWS: there are no training rows/);
    await expect(train([{ input_ids: [1, 2], labels: [-100, -100] }])).rejects.toThrow(
      /NO_TRAINED_TOKEN: .*training rows\[0\]: ids \[1, 2\]/,
    );
    await expect(train([{ input_ids: [1, 2] }], { dataloaderDropLast: true })).rejects.toThrow(
      /NO_TRAINING_ROWS/,
    );
    const trainer = await make({ trainDataset: [{ input_ids: [1, 2] }] }, { saveStrategy: 'no' });
    for (const [, parameter] of trainer.model.root.namedParameters()) parameter.trainable = false;
    await expect(trainer.train()).rejects.toThrow(/NO_TRAINABLE/);
  });
});

interface PlanCase {
  readonly name: string;
  readonly attrs: {
    readonly rows: number;
    readonly batchSize: number;
    readonly gradientAccumulationSteps: number;
    readonly numTrainEpochs: number;
    readonly maxSteps: number;
    readonly dropLast: boolean;
  };
  readonly outputs: object;
}

describe('row 26: updates of a run, as transformers plans them', () => {
  const { cases } = fixtureJson('row26-plan.json') as { cases: PlanCase[] };
  test.each(cases.map((c) => [c.name, c] as const))('%s', (_, { attrs, outputs }) => {
    const batches = attrs.rows / attrs.batchSize;
    const plan = planTraining(attrs.dropLast ? Math.floor(batches) : Math.ceil(batches), attrs);
    expect(plan).toMatchObject(outputs);
  });
});

describe('the order of rows, in three spellings', () => {
  test.each([
    [{}, 'random'],
    [{ shuffle: false }, 'sequential'],
    [{ groupByLength: true }, 'group_by_length'],
    [{ train_sampling_strategy: 'group_by_length' }, 'group_by_length'],
    [{ trainSamplingStrategy: 'sequential' }, 'sequential'],
    [{ trainSamplingStrategy: 'group_by_length', groupByLength: true }, 'group_by_length'],
  ])('%j is %s', (input, expected) => {
    const { trainSamplingStrategy, shuffle, groupByLength } = parse(input);
    expect(trainSamplingStrategy).toBe(expected);
    expect(shuffle).toBe(expected !== 'sequential');
    expect(groupByLength).toBe(expected === 'group_by_length');
    // What was parsed parses again, as a trainer made from another's arguments.
    expect(parse({ trainSamplingStrategy, shuffle, groupByLength })).toMatchObject({
      trainSamplingStrategy,
    });
  });

  test.each([
    [{ shuffle: false, groupByLength: true }, /shuffle is false, but groupByLength is true/],
    [
      { shuffle: false, trainSamplingStrategy: 'random' },
      /shuffle is false, but trainSamplingStrategy is "random"/,
    ],
    [
      { groupByLength: true, trainSamplingStrategy: 'sequential' },
      /groupByLength is true, but trainSamplingStrategy is "sequential"/,
    ],
    [{ trainSamplingStrategy: 'batch_rebalance' }, /trainSamplingStrategy is "batch_rebalance"/],
    [{ dataSeed: -1 }, /dataSeed is -1/],
    [{ dataloaderNumWorkers: 2 }, /OPTION_ABSENT: dataloaderNumWorkers: 2/],
  ])('%j is refused', (input, message) => {
    expect(() => parse(input)).toThrow(message);
  });

  describe('lengthColumnName', () => {
    /**
     * Rows of three tokens; `length` by the first of them. The first tokens in the order of
     * training.
     */
    const orderOf = async (lengthOf: (i: number) => object, args: TrainingArgumentsInput = {}) => {
      await using attune = await createAttune({ backend: 'reference', logger: silentLogger });
      const plain = causalLmObjective({ maxLength: 8, preflight: 'off' });
      const seen: number[] = [];
      const trainer = new Trainer({
        model: await minuteLlama(attune),
        trainDataset: Array.from({ length: 16 }, (_, i) => ({
          input_ids: Array.from({ length: 2 + (i % 3) }, () => i),
          ...lengthOf(i),
        })),
        objective: {
          ...plain,
          collate(examples: readonly TokenExample[]) {
            seen.push(...examples.map(({ inputIds }) => inputIds[0]!));
            return plain.collate(examples);
          },
        } satisfies Objective<TokenExample>,
        args: {
          ...{ perDeviceTrainBatchSize: 1, numTrainEpochs: 1, saveStrategy: 'no' },
          ...{ groupByLength: true, ...args },
        },
      });
      await trainer.train();
      return seen;
    };
    /** Whether each megabatch, here of four rows, goes from the longest to the shortest. */
    const isGrouped = (order: number[], length: (i: number) => number) =>
      order.every((i, at) => at % 4 === 0 || length(i) <= length(order[at - 1]!));
    const given = (i: number) => (i * 7) % 16;

    test('is where lengths come from, if every row has it', async () => {
      const order = await orderOf((i) => ({ length: given(i) }));
      expect(isGrouped(order, given)).toBe(true);
      expect(order[0]).toBe(9); // 63 % 16: the longest of all
      const named = await orderOf((i) => ({ size: given(i) }), { lengthColumnName: 'size' });
      expect(named).toEqual(order);
    });

    test('counted in tokens where it is null, or no row has one', async () => {
      const tokens = (i: number) => i % 3;
      const order = await orderOf(() => ({}));
      expect(isGrouped(order, tokens)).toBe(true);
      expect(isGrouped(order, given)).toBe(false);
      const ignored = await orderOf((i) => ({ length: given(i) }), { lengthColumnName: null });
      expect(ignored).toEqual(order);
    });

    test('must be a number in each row', async () => {
      await expect(orderOf((i) => (i === 3 ? {} : { length: 1 }))).rejects.toThrow(
        /ROW_LENGTH: training rows\[3\] has no "length"/,
      );
      await expect(orderOf(() => ({ length: 'long' }))).rejects.toThrow(
        /ROW_LENGTH: training rows\[0\]: "length" is "long"/,
      );
      await expect(orderOf(() => ({}), { lengthColumnName: 'size' })).rejects.toThrow(
        /ROW_LENGTH: training rows\[0\] has no "size"/,
      );
    });
  });

  test('what has no length cannot be grouped by it', async () => {
    const attune = await createAttune({ backend: 'reference', logger: silentLogger });
    const { loss } = causalLmObjective({ maxLength: 8 });
    const trainer = new Trainer({
      model: await minuteLlama(attune),
      trainDataset: [{ text: 'no ids' }],
      args: { groupByLength: true, saveStrategy: 'no' },
      objective: { name: 'lengthless', collate: () => ({}), countItems: () => 1, loss },
    });
    await expect(trainer.train()).rejects.toThrow(
      /ARGUMENTS_INVALID: .*"lengthless" does not say how long its examples are.*lengthOf/s,
    );
  });
});

describe('options of transformers that are not here yet', () => {
  test('set to what they do here anyway, they are taken silently', () => {
    const parsed = parse({
      bf16: false,
      gradient_checkpointing: false,
      reportTo: [],
      packing: false,
    });
    expect(parsed).toEqual(parse({}));
  });

  test('switched on, they are an error that says so', () => {
    expect(() => parse({ packing: true })).toThrow(
      /OPTION_ABSENT: packing: true.*this trainer does not have/,
    );
    expect(() => parse({ push_to_hub: true })).toThrow(/push_to_hub: true/);
  });
});
