import { mkdtemp, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Attune,
  AutoModelForCausalLM,
  AutoModelForSequenceClassification,
  type SequenceClassifier,
  sequenceClassificationObjective,
  Trainer,
} from '@attune/core';
import { SafetensorsFile } from '@attune/core/io';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { upload } from '../../src/training/upload.js';
import { fixture, fixtureJson, largestDifference, reference } from './support.js';

let attune: Attune;
beforeEach(async () => {
  attune = await reference();
});
afterEach(() => attune.dispose());

const load = (name: string): Promise<SequenceClassifier> =>
  AutoModelForSequenceClassification.fromPretrained(fixture(name), { attune });

const ints = (rows: readonly (readonly number[])[]) =>
  attune.engine.tensor(rows.flat(), [rows.length, rows[0]!.length], 'int32');

/** Rows with `pad` on one side up to the longest, and their mask. */
function padded(rows: readonly number[][], side: 'left' | 'right', pad: number) {
  const width = Math.max(...rows.map((row) => row.length));
  const fill = (row: readonly number[], value: number) => {
    const extra = new Array<number>(width - row.length).fill(value);
    return side === 'left' ? [...extra, ...row] : [...row, ...extra];
  };
  return {
    inputIds: ints(rows.map((row) => fill(row, pad))),
    attentionMask: ints(
      rows.map((row) =>
        fill(
          row.map(() => 1),
          0,
        ),
      ),
    ),
    positions: ints(
      rows.map((row) =>
        fill(
          row.map((_, t) => t),
          0,
        ),
      ),
    ),
  };
}

/** Ours are float64: what remains is the rounding of theirs. */
const tolerance = 2e-5;

describe.each([
  'tiny-classifier',
  'tiny-classifier-regression',
  'tiny-classifier-multi',
  'tiny-classifier-gpt2',
])('%s', (name) => {
  const facts = fixtureJson(`${name}/classification.json`);
  const rows: number[][] = facts.rows;
  const [longer, shorter] = rows as [number[], number[]];

  it('reads the last token by length, whatever padding is and where', async () => {
    const model = await load(name);
    const same = async (input: Parameters<typeof model.forward>[0], expected: number[]) =>
      expect(largestDifference(await model.forward(input).data(), expected)).toBeLessThan(
        tolerance,
      );
    await same(padded(rows, 'right', 0), facts.scores.data);
    await same(padded(rows, 'left', 0), facts.scoresLeft.data);
    // transformers passes over a last token that is also used as padding: facts.scoresPassedOver.
    await same(padded(rows, 'right', 2), facts.scoresAlone.data);
    await same(padded(rows, 'left', 2), facts.scoresAlone.data);
    expect(largestDifference(facts.scoresPassedOver.data, facts.scoresAlone.data)).toBeGreaterThan(
      0.1,
    );
    const { numLabels } = model;
    await same({ inputIds: ints([longer]) }, facts.scoresAlone.data.slice(0, numLabels));
    const { inputIds, attentionMask: segments } = padded(rows, 'right', 0);
    const lastTokens = attune.engine.tensor([longer.length - 1, shorter.length - 1], [2], 'int32');
    await same({ inputIds, segments, lastTokens }, facts.scoresAlone.data);
  });

  it('has the loss and the gradients of transformers', async () => {
    const model = await load(name);
    const objective = sequenceClassificationObjective(model, { maxLength: 32 });
    const context = { model, tokenizer: null, origin: 'row', use: 'training' as const };
    const examples = rows.map(
      (input_ids, i) =>
        objective.rows!.encode!({ input_ids, label: facts.labels[i] }, context).example!,
    );
    const host = objective.collate(examples);
    const { loss } = objective.loss(model, upload(attune.engine, host));
    const mean = loss.mul(1 / objective.countItems(host));
    expect(Math.abs((await mean.item()) - facts.loss)).toBeLessThan(tolerance);
    attune.engine.backward(mean);
    for (const [path, parameter] of model.root.namedParameters()) {
      const ours = await parameter.tensor.grad!.data();
      expect(Math.abs(Math.hypot(...ours) - facts.gradNorm[path]), path).toBeLessThan(tolerance);
      const theirs = facts.grads[path];
      if (theirs) expect(largestDifference(ours, theirs.data), path).toBeLessThan(tolerance);
    }
  });

  it('is saved and loaded as transformers does', async () => {
    const model = await load(name);
    const folder = await mkdtemp(join(tmpdir(), 'attune-classifier-'));
    await model.savePretrained(folder);
    const config = (path: string) => readFile(join(path, 'config.json'), 'utf8').then(JSON.parse);
    expect(await config(folder)).toMatchObject(await config(fixture(name)));
    await using ours = await SafetensorsFile.open(join(folder, 'model.safetensors'));
    await using theirs = await SafetensorsFile.open(join(fixture(name), 'model.safetensors'));
    expect([...ours.names].sort()).toEqual([...theirs.names].sort());
    const again = await AutoModelForSequenceClassification.fromPretrained(folder, { attune });
    const input = padded(rows, 'right', 0);
    expect(await again.forward(input).data()).toEqual(await model.forward(input).data());
    expect(again.problemType).toBe(model.problemType);
  });
});

it('makes a classifier of a language model: its head goes, score is new', async () => {
  const options = { attune, labels: ['bad', 'fair', 'good'], seed: 3 };
  const model = await AutoModelForSequenceClassification.fromPretrained(
    fixture('tiny-llama'),
    options,
  );
  const names = [...model.root.namedParameters()].map(([name]) => name);
  expect(names).toContain('score.weight');
  expect(names).not.toContain('lm_head.weight');
  expect(model.config.raw).toMatchObject({
    architectures: ['LlamaForSequenceClassification'],
    id2label: { 0: 'bad', 1: 'fair', 2: 'good' },
    label2id: { bad: 0, fair: 1, good: 2 },
  });
  const score = await model.root.child('score').ownParameters.get('weight')!.tensor.data();
  const deviation = Math.hypot(...score) / Math.sqrt(score.length);
  expect(deviation).toBeGreaterThan(0.08);
  expect(deviation).toBeLessThan(0.12); // initializer_range 0.1, 192 draws
});

it('trains with the Trainer, and says how often it is right', async () => {
  const model = await AutoModelForSequenceClassification.fromConfig(
    fixtureJson('tiny-classifier/config.json'),
    { attune, labels: ['no', 'yes'] },
  );
  const rows = Array.from({ length: 8 }, (_, i) => ({
    input_ids: [3 + i, 20 + (i % 2), 9, ...new Array<number>(i % 3).fill(7)],
    label: i % 2 ? 'yes' : 'no',
  }));
  const trainer = new Trainer({
    model,
    objective: (args) => sequenceClassificationObjective(model, { maxLength: args.maxLength! }),
    trainDataset: rows,
    evalDataset: rows,
    args: {
      outputDir: await mkdtemp(join(tmpdir(), 'attune-classifier-')),
      saveStrategy: 'no',
      maxSteps: 30,
      perDeviceTrainBatchSize: 4,
      learningRate: 0.02,
    },
  });
  const before = await trainer.evaluate();
  await trainer.train();
  const after = await trainer.evaluate();
  expect(after.evalLoss!).toBeLessThan(0.2 * before.evalLoss!);
  expect(after.evalAccuracy).toBe(1);
});

describe('refuses', () => {
  it('padding without a word on which token is the last', async () => {
    const model = await load('tiny-classifier');
    const { inputIds, attentionMask: segments } = padded([[5, 6], [7]], 'right', 0);
    expect(() => model.forward({ inputIds, segments })).toThrowError(/^CLASSIFY_PADDING/);
    expect('generate' in model).toBe(false);
  });

  it.each([
    [{ input_ids: [5], label: 3 }, /^LABEL_INVALID.*3/],
    [{ input_ids: [5], label: 'none' }, /"none"[\s\S]*LABEL_0/],
    [{ input_ids: [5] }, /^LABEL_INVALID/],
    [{ input_ids: [64], label: 0 }, /^VOCAB_MISMATCH.*64/],
    [{ input_ids: [], label: 0 }, /^ROW_FORMAT/],
    [{ text: 'a', label: 0 }, /^TOKENIZER_MISSING/],
  ])('the row %j', async (row, says) => {
    const model = await load('tiny-classifier');
    const objective = sequenceClassificationObjective(model, { maxLength: 4 });
    const context = { model, tokenizer: null, origin: 'rows[0]', use: 'training' as const };
    expect(() => objective.rows!.encode!(row, context)).toThrowError(says);
  });

  it('a language model, and labels that do not fit', async () => {
    const plain = await AutoModelForCausalLM.fromPretrained(fixture('tiny-llama'), { attune });
    expect(() => sequenceClassificationObjective(plain, { maxLength: 4 })).toThrowError(
      /^CLASSIFIER_NEEDED/,
    );
    const asks = (options: object) =>
      AutoModelForSequenceClassification.fromPretrained(fixture('tiny-classifier'), {
        attune,
        ...options,
      });
    await expect(asks({ numLabels: 2 })).rejects.toMatchObject({ code: 'WEIGHTS_SHAPE' });
    await expect(asks({ numLabels: 0 })).rejects.toMatchObject({ code: 'LABELS_INVALID' });
    await expect(asks({ numLabels: 3, labels: ['a'] })).rejects.toMatchObject({
      code: 'LABELS_INVALID',
    });
    await expect(asks({ problemType: 'guess' })).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
  });
});
