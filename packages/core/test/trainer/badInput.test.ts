import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Attune,
  AttuneError,
  type CausalLM,
  createAttune,
  loadDataset,
  SFTTrainer,
  silentLogger,
} from '@attune/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { idRows, minuteLlama } from './support.js';

// Whatever a script gets wrong: the error names the option or the row, says what was found, and
// what to do.

let attune: Attune;
let model: CausalLM;
let folder: string;
beforeAll(async () => {
  attune = await createAttune({ backend: 'reference', logger: silentLogger });
  model = await minuteLlama(attune);
  folder = await mkdtemp(join(tmpdir(), 'attune-bad-input-'));
});
afterAll(() => attune.dispose());

const trainer = (args: object, more: object = {}) =>
  new SFTTrainer({
    model,
    trainDataset: idRows(4),
    args: { outputDir: folder, saveStrategy: 'no', maxSteps: 1, ...args },
    ...more,
  } as ConstructorParameters<typeof SFTTrainer>[0]);
const train = (row: unknown, args: object = {}) =>
  trainer(args, { trainDataset: [{ input_ids: [1, 2, 3] }, row] }).train();
const file = async (name: string, text: string, options: object = {}) => {
  const path = join(folder, name);
  await writeFile(path, text);
  return loadDataset('json', { dataFiles: path, ...options });
};

/** What is wrong, the call, the code, and what the message must name. */
type Kind = readonly [string, () => unknown, string, RegExp];

const kinds: readonly Kind[] = [
  // Options of training
  [
    'no such option',
    () => trainer({ learning_rte: 1 }),
    'UNKNOWN_OPTION',
    /learning_rte.*learning/,
  ],
  [
    'two spellings',
    () => trainer({ seed: 1, dataSeed: 1, data_seed: 2 }),
    'ARGUMENTS_INVALID',
    /data_seed/,
  ],
  [
    'text for a number',
    () => trainer({ learningRate: '1e-4' }),
    'ARGUMENTS_INVALID',
    /learningRate is "1e-4"/,
  ],
  [
    'a negative rate',
    () => trainer({ learningRate: -1 }),
    'ARGUMENTS_INVALID',
    /learningRate is -1/,
  ],
  [
    'no micro-batch',
    () => trainer({ perDeviceTrainBatchSize: 0 }),
    'ARGUMENTS_INVALID',
    /perDeviceTrainBatchSize is 0/,
  ],
  [
    'half an accumulation',
    () => trainer({ gradientAccumulationSteps: 1.5 }),
    'ARGUMENTS_INVALID',
    /gradientAccumulationSteps is 1.5/,
  ],
  ['no updates', () => trainer({ maxSteps: 0 }), 'ARGUMENTS_INVALID', /maxSteps is 0/],
  [
    'negative epochs',
    () => trainer({ numTrainEpochs: -2 }),
    'ARGUMENTS_INVALID',
    /numTrainEpochs is -2/,
  ],
  ['beta 1', () => trainer({ adamBeta1: 1 }), 'ARGUMENTS_INVALID', /adamBeta1 is 1/],
  [
    'a negative decay',
    () => trainer({ weightDecay: -0.1 }),
    'ARGUMENTS_INVALID',
    /weightDecay is -0.1/,
  ],
  ['a negative norm', () => trainer({ maxGradNorm: -1 }), 'ARGUMENTS_INVALID', /maxGradNorm is -1/],
  [
    'smoothing of all',
    () => trainer({ labelSmoothingFactor: 1 }),
    'ARGUMENTS_INVALID',
    /labelSmoothingFactor is 1/,
  ],
  [
    'negative noise',
    () => trainer({ neftuneNoiseAlpha: -5 }),
    'ARGUMENTS_INVALID',
    /neftuneNoiseAlpha is -5/,
  ],
  [
    'no such schedule',
    () => trainer({ lrSchedulerType: 'cosin' }),
    'UNKNOWN_NAME',
    /unknown learning-rate schedule "cosin".*Did you mean "cosine"/s,
  ],
  [
    'an option of another schedule',
    () => trainer({ lrSchedulerKwargs: { power: 2 } }),
    'UNKNOWN_OPTION',
    /lrSchedulerKwargs.power/,
  ],
  [
    'more warmup than updates',
    () => trainer({ warmupSteps: 9, maxSteps: 3 }),
    'ARGUMENTS_INVALID',
    /warmupSteps 9.*maxSteps 3/,
  ],
  ['warmup of 200 %', () => trainer({ warmupRatio: 2 }), 'ARGUMENTS_INVALID', /warmupRatio is 2/],
  [
    'two precisions',
    () => trainer({ bf16: true, fp16: true }),
    'ARGUMENTS_INVALID',
    /bf16 and fp16/,
  ],
  [
    'no such strategy',
    () => trainer({ evalStrategy: 'often' }),
    'ARGUMENTS_INVALID',
    /evalStrategy is "often"/,
  ],
  [
    'evaluation without rows',
    () => trainer({ evalStrategy: 'steps' }),
    'ARGUMENTS_INVALID',
    /evalDataset/,
  ],
  [
    'the best without evaluation',
    () => trainer({ saveStrategy: 'best' }),
    'ARGUMENTS_INVALID',
    /saveStrategy is "best"/,
  ],
  [
    'the best model, never saved',
    () => trainer({ loadBestModelAtEnd: true }),
    'ARGUMENTS_INVALID',
    /loadBestModelAtEnd/,
  ],
  [
    'an order and another',
    () => trainer({ shuffle: false, groupByLength: true }),
    'ARGUMENTS_INVALID',
    /shuffle.*groupByLength/,
  ],
  ['a negative seed', () => trainer({ seed: -1 }), 'ARGUMENTS_INVALID', /seed is -1/],
  ['what is not here', () => trainer({ pushToHub: true }), 'OPTION_ABSENT', /pushToHub/],
  [
    'more tokens than positions',
    () => trainer({ maxLength: 65 }),
    'MAX_LENGTH',
    /maxLength is 65.*64/,
  ],
  ['no such optimizer', () => trainer({ optim: 'adamq' }).train(), 'UNKNOWN_NAME', /adamq/],
  [
    'memory of no size',
    () => trainer({ maxMemory: '8 apples' }).train(),
    'SIZE_INVALID',
    /maxMemory is "8 apples"/,
  ],
  // The trainer
  [
    'no such parameter',
    () => trainer({}, { trainDatset: [] }),
    'UNKNOWN_OPTION',
    /trainDatset.*trainDataset/,
  ],
  [
    'an adapter without its plugin',
    () => trainer({}, { peftConfig: { peftType: 'LORA' } }),
    'PEFT_MISSING',
    /@attune\/peft/,
  ],
  ['no such callback', () => trainer({}, { callbacks: ['progres'] }), 'UNKNOWN_NAME', /progres/],
  ['no rows', () => trainer({}, { trainDataset: [] }).train(), 'NO_ROWS', /no training rows/],
  [
    'no data set',
    () => trainer({}, { trainDataset: undefined }).train(),
    'NO_ROWS',
    /trainDataset/,
  ],
  ['no rows to evaluate', () => trainer({}).evaluate(), 'NO_ROWS', /evalDataset/],
  [
    'nothing to resume from',
    () => trainer({}).train({ resumeFromCheckpoint: true }),
    'CHECKPOINT_NONE',
    /bad-input/,
  ],
  [
    'a checkpoint that is not there',
    () => trainer({}).train({ resumeFromCheckpoint: '/no/checkpoint-3' }),
    'CHECKPOINT_NONE',
    /checkpoint-3/,
  ],
  // Rows
  ['a row of nothing', () => train({}), 'ROW_FORMAT', /rows\[1\]/],
  ['a row that is a number', () => train(7), 'ROW_FORMAT', /rows\[1\]/],
  [
    'a row of another format',
    () => train({ question: 'a', answer: 'b' }),
    'ROW_FORMAT',
    /rows\[1\].*question/s,
  ],
  ['text without a tokenizer', () => train({ text: 'hello' }), 'TOKENIZER_MISSING', /rows\[1\]/],
  [
    'an id beyond the vocabulary',
    () => train({ input_ids: [1, 17] }),
    'VOCAB_MISMATCH',
    /rows\[1\].*17/,
  ],
  ['a negative id', () => train({ input_ids: [1, -3] }), 'VOCAB_MISMATCH', /rows\[1\].*-3/],
  ['half an id', () => train({ input_ids: [1, 2.5] }), 'ROW_FORMAT', /rows\[1\].*2.5/s],
  [
    'labels of another length',
    () => train({ input_ids: [1, 2, 3], labels: [1, 2] }),
    'ROW_FORMAT',
    /rows\[1\].*(labels|3|2)/s,
  ],
  [
    'a label beyond the vocabulary',
    () => train({ input_ids: [1, 2], labels: [1, 99] }),
    'VOCAB_MISMATCH',
    /rows\[1\].*99/,
  ],
  [
    'nothing to learn',
    () => train({ input_ids: [1, 2], labels: [-100, -100] }),
    'NO_TRAINED_TOKEN',
    /rows\[1\]/,
  ],
  // Files
  [
    'no such file',
    () => loadDataset('json', { dataFiles: join(folder, 'none.jsonl') }),
    'DATASET_FILE',
    /none\.jsonl/,
  ],
  [
    'a line that is no JSON',
    () => file('a.jsonl', '{"text":"a"}\n{"text":'),
    'DATASET_JSON',
    /a\.jsonl:2/,
  ],
  [
    'a line that is no object',
    () => file('b.jsonl', '{"text":"a"}\n[1]\n'),
    'DATASET_JSON',
    /b\.jsonl:2/,
  ],
  [
    'no such split',
    () => file('c.jsonl', '{"text":"a"}\n', { split: 'train[:x]' }),
    'DATASET_SPLIT',
    /"x" in a split/,
  ],
];

describe(`bad input, ${kinds.length} kinds`, () => {
  it('is at least 40 kinds', () => {
    expect(kinds.length).toBeGreaterThanOrEqual(40);
  });

  it.each(kinds)('%s', async (_, call, code, names) => {
    const before = [attune.engine.liveTensors, attune.backend.stats.liveBytes];
    const error = await Promise.resolve()
      .then(call)
      .then(
        () => null,
        (thrown: unknown) => thrown,
      );
    expect(AttuneError.isInstance(error), String(error)).toBe(true);
    const { code: found, message, remedy } = error as AttuneError;
    expect(`${found}: ${message}`).toMatch(new RegExp(`^${code}: `));
    expect(message).toMatch(names);
    expect(remedy?.length ?? 0).toBeGreaterThan(10);
    expect([attune.engine.liveTensors, attune.backend.stats.liveBytes]).toEqual(before);
  });
});
