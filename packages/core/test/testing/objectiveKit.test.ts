import {
  AutoModelForSequenceClassification,
  causalLmObjective,
  type LanguageModel,
  type Objective,
  type PrepareContext,
  type Tensor,
  type TokenExample,
  type UpdateContext,
} from '@attune/core';
import { Linear } from '@attune/core/nn';
import { objectiveKit } from '@attune/core/testing';
import {
  type DeviceBatch,
  defineObjective,
  type HostBatch,
  type ObjectiveDefinition,
} from '@attune/core/training';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { builtinObjectives } from '../../src/objectives/builtin.js';
import { minuteLlama } from '../trainer/support.js';

const [causalLm, classification] = builtinObjectives as [ObjectiveDefinition, ObjectiveDefinition];
const rows = [
  { input_ids: [3, 1, 4, 1, 5] },
  { input_ids: [9, 2, 6] },
  { input_ids: [5, 3, 5, 8, 9, 7] },
  { input_ids: [9, 3] },
];
const completions = rows.map(({ input_ids }) => ({
  input_ids,
  completion_mask: input_ids.map((_, i) => Number(i > 0)),
}));

describe('causal-lm', () => {
  const otherOptions = [{ lossType: 'dft' }, { packing: true }, { completionOnlyLoss: true }];
  for (const { name, run } of objectiveKit(causalLm, { rows, otherOptions })) test(name, run);
});
describe('causal-lm, packed', () => {
  const options = { packing: true, completionOnlyLoss: true };
  for (const { name, run } of objectiveKit(causalLm, { rows: completions, options }))
    test(name, run);
});
describe('causal-lm, dynamic fine-tuning', () => {
  // The probability that weighs a token is held constant, as in the paper.
  const options = { lossType: 'dft' };
  for (const { name, run } of objectiveKit(causalLm, { rows, options, exactGradients: false }))
    test(name, run);
});
describe.each([
  ['single_label_classification', [0, 1, 2, 1]],
  [
    'multi_label_classification',
    [
      [0, 1, 1],
      [1, 0, 0],
      [0, 0, 0],
      [1, 1, 1],
    ],
  ],
  [
    'regression',
    [
      [0.5, -1, 2],
      [0, 0, 1],
      [1, 1, 1],
      [-3, 0.25, 0],
    ],
  ],
] as const)('sequence-classification, %s', (problemType, labels) => {
  const checks = objectiveKit(classification, {
    rows: rows.map((row, i) => ({ ...row, label: labels[i] })),
    model: async (attune) =>
      AutoModelForSequenceClassification.fromConfig((await minuteLlama(attune)).config.raw, {
        attune,
        numLabels: 3,
        problemType,
      }),
  });
  for (const { name, run } of checks) test(name, run);
});

describe('the kit', () => {
  /** The usual loss times a number, with one mistake or none. */
  const own = (
    change: (objective: Objective<TokenExample>, strength: number) => object = () => ({}),
  ): ObjectiveDefinition =>
    defineObjective({
      name: 'own',
      options: z.strictObject({ strength: z.number().default(0.5) }),
      create: ({ args }, { strength }) => {
        const plain = causalLmObjective({ maxLength: args.maxLength!, preflight: 'off' });
        const objective: Objective<TokenExample> = {
          ...plain,
          isLogLikelihood: false,
          fingerprint: { strength },
          loss: (model, batch) => ({ loss: plain.loss(model, batch).loss.mul(strength) }),
        };
        return { ...objective, ...change(objective, strength) } as Objective;
      },
    });
  /** What the first check that fails says. */
  const failure = async (definition: ObjectiveDefinition) => {
    for (const { run } of objectiveKit(definition, { rows, otherOptions: [{ strength: 2 }] }))
      try {
        await run();
      } catch (error) {
        return (error as Error).message;
      }
    return '';
  };
  const scalar = (value: number) =>
    ({ data: Float32Array.of(value), shape: [1], dtype: 'float32' }) as const;
  /** A coefficient that grows with each group. */
  const growing =
    (values: Record<string, number>, kept: boolean) => (objective: Objective<TokenExample>) => ({
      ...(kept && { state: { values } }),
      async *updates(group: readonly HostBatch[], { use }: UpdateContext) {
        yield { batches: group.map((batch) => ({ ...batch, by: scalar(values.by!) })) };
        if (use === 'training') values.by! *= 1.5;
      },
      standIn: (batch: HostBatch) => ({ ...batch, by: scalar(0) }),
      loss: (model: LanguageModel, batch: DeviceBatch) => ({
        loss: objective.loss(model, batch).loss.mul(batch.by!.reshape()),
      }),
    });

  /** Puts a layer beside the model, as a copy of an adapter is. */
  const attaching = (trainable: boolean) => async (context: PrepareContext) => {
    const { engine, root } = context.model;
    const layer = new Linear(engine, { inFeatures: 2, outFeatures: 2 });
    layer.weight.trainable = trainable;
    layer.weight.write(new Float32Array(4));
    root.attach('beside', layer);
  };
  /** A sum of weights of before, taken once, against which they are held. */
  const anchored = (objective: Objective<TokenExample>) => {
    let before: Tensor | undefined;
    const sumOf = ({ root }: LanguageModel) => {
      const [, first] = [...root.namedParameters()].find(([, { trainable }]) => trainable)!;
      return first.tensor.sum();
    };
    return {
      async prepare({ model }: PrepareContext) {
        const { engine } = model;
        before = engine.keep(engine.noGrad(() => sumOf(model)));
      },
      loss(model: LanguageModel, batch: DeviceBatch) {
        const drift = sumOf(model).sub(before!).square();
        return { loss: objective.loss(model, batch).loss.add(drift.mul(batch.labels!.shape[0]!)) };
      },
    };
  };

  test('passes a sound objective, and one with updates and state', async () => {
    expect(await failure(own())).toBe('');
    expect(await failure(own((objective) => growing({ by: 1 }, true)(objective)))).toBe('');
    expect(await failure(own(anchored))).toBe('');
    expect(await failure(own(() => ({ prepare: attaching(false) })))).toBe('');
  });

  test.each<[string, ObjectiveDefinition, RegExp]>([
    [
      'a mean in the place of a sum',
      own((objective) => ({
        loss: (model: LanguageModel, batch: DeviceBatch) => ({
          loss: objective.loss(model, batch).loss.mul(1 / batch.labels!.size),
        }),
      })),
      /loss of the whole is .*, of two micro-batches/,
    ],
    [
      'a model that is frozen in the place of a copy',
      own(() => ({
        async prepare({ model }: PrepareContext) {
          for (const [, parameter] of model.root.namedParameters()) parameter.trainable = false;
        },
      })),
      /preparing changes model.embed_tokens.weight of what is trained/,
    ],
    [
      'a layer that is trained and was not there',
      own(() => ({ prepare: attaching(true) })),
      /preparing adds beside.weight to what is trained/,
    ],
    [
      'a part that is detached',
      own((objective) => ({
        loss: (model: LanguageModel, batch: DeviceBatch) => {
          const { loss } = objective.loss(model, batch);
          return { loss: loss.add(loss.detach()) };
        },
      })),
      /the tape says/,
    ],
    [
      'a fingerprint without its options',
      own(() => ({ fingerprint: {} })),
      /it has the same fingerprint/,
    ],
    [
      'state that is not saved',
      own((objective) => growing({ by: 1 }, false)(objective)),
      /resumed, .* differs by/,
    ],
    [
      'an array that standIn lacks',
      own((objective) => ({ ...growing({ by: 1 }, true)(objective), standIn: undefined })),
      /updates give "by" float32 \[1\], standIn undefined/,
    ],
    [
      'updates that are not promised',
      own(() => ({ updatesPerGroup: 2 })),
      /gives 1 updates, updatesPerGroup is 2/,
    ],
    [
      'a tensor that stays',
      own((objective) => ({
        loss: (model: LanguageModel, batch: DeviceBatch) => {
          model.engine.keep(model.engine.zeros([3]));
          return objective.loss(model, batch);
        },
      })),
      /12 bytes are left of a loss/,
    ],
    [
      'rows that are not named',
      own(() => ({
        rows: {
          encode: (row: { input_ids: number[] }) => ({
            example: { inputIds: row.input_ids.slice(), labels: row.input_ids },
          }),
        },
      })),
      /the error of a bad row does not name it/,
    ],
  ])('finds %s', async (_, definition, message) => {
    expect(await failure(definition)).toMatch(message);
  });
});
