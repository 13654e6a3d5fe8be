import { join } from 'node:path';
import {
  type DistillationArgumentsInput,
  DistillationTrainer,
  distillationObjective,
  generalizedJsd,
  headJsd,
  type TeacherChoice,
} from '@attune/align';
import {
  type Attune,
  AutoModelForCausalLM,
  AutoModelForSequenceClassification,
  createAttune,
  defineObjective,
  IGNORE_INDEX,
  type LanguageModel,
  silentLogger,
} from '@attune/core';
import { objectiveKit } from '@attune/core/testing';
import { z } from '@attune/core/util';
import { peft } from '@attune/peft';
import { describe, expect, test } from 'vitest';
import { expectClose, type Fixture, fixture, fixtures, Oracle } from './fixtures.js';
import {
  args,
  completed,
  followDistillation,
  load,
  prompts,
  recorded,
  teacherOf,
  trained,
} from './recordedDistillations.js';

const start = (): Promise<Attune> =>
  createAttune({ backend: 'reference', plugins: [peft()], logger: silentLogger });
describe('generalised Jensen-Shannon divergence', () => {
  const jsd = fixture<Fixture>('row420-generalized-jsd.json');
  test.each(jsd.cases.map((one) => [one.name, one] as const))("%s: TRL's", (_, one) => {
    const oracle = new Oracle();
    const { beta, temperature } = one.attrs as { beta: number; temperature: number };
    const student = oracle.tensor(one.inputs.student!, true);
    const teacher = oracle.tensor(one.inputs.teacher!, true);
    const [b, t, v] = student.shape as [number, number, number];
    const asked = (one.inputs.labels!.data as readonly number[]).map((label) => Number(label >= 0));
    const found = generalizedJsd(student.reshape(b * t, v), teacher.reshape(b * t, v), {
      beta,
      temperature,
    });
    expectClose(oracle.values(found), one.outputs.perToken!, jsd.tolerance);
    const loss = found.mul(oracle.tensor({ shape: [b * t], data: asked })).sum();
    expectClose(oracle.values(loss), one.outputs.loss!, jsd.tolerance);
    oracle.engine.backward(loss);
    expectClose(oracle.values(student.grad), one.grads.student!, jsd.tolerance);
    expect(teacher.grad).toBeNull();
  });

  test('chunks of rows have the values and gradients of all rows at once', () => {
    const oracle = new Oracle();
    const [count, width, vocabSize] = [150, 3, 7];
    const wave = (size: number, step: number) =>
      Array.from({ length: size }, (_, i) => Math.sin(1 + i * step));
    const make = (shape: readonly number[], step: number) =>
      oracle.tensor({ shape, data: wave(shape[0]! * shape[1]!, step) }, true);
    const [hidden, weight] = [make([count, width], 0.7), make([vocabSize, width], 1.3)];
    const [seen, other] = [make([count, width], 0.4), make([vocabSize, width], 2.1)];
    const labels = Int32Array.from({ length: count }, (_, i) =>
      i % 5 === 0 ? IGNORE_INDEX : i % 7,
    );
    const targets = oracle.engine.tensor(labels, [count], 'int32');
    const asked = oracle.tensor({
      shape: [count],
      data: Array.from(labels, (label) => Number(label >= 0)),
    });
    const options = { beta: 0.3, temperature: 1.5 };
    const grads = () => [hidden, weight].map((t) => [...oracle.values(t.grad)]);
    const { losses, entropy } = headJsd(
      { rows: hidden, head: (x) => x.matmul(weight, { transposeB: true }) },
      {
        rows: seen,
        head: (x) => oracle.engine.noGrad(() => x.matmul(other, { transposeB: true })),
      },
      targets,
      { ...options, vocabSize },
    );
    oracle.engine.backward(losses.sum());
    const found = { losses: oracle.values(losses), grads: grads() };
    expect(other.grad).toBeNull();
    hidden.grad = null;
    weight.grad = null;
    const logits = hidden.matmul(weight, { transposeB: true });
    const whole = generalizedJsd(logits, seen.matmul(other, { transposeB: true }), options).mul(
      asked,
    );
    oracle.engine.backward(whole.sum());
    const near = (a: readonly number[], b: readonly number[]) =>
      expectClose(a, { shape: [b.length], data: b }, { abs: 1e-12, rel: 1e-9 });
    near(found.losses, oracle.values(whole));
    for (const [i, gradient] of grads().entries()) near(found.grads[i]!, gradient);
    const p = logits.mul(1 / options.temperature).logSoftmax();
    near(oracle.values(entropy), oracle.values(p.exp().mul(p).sum(-1).neg().mul(asked)));
  });
});

describe("runs follow TRL's, update by update", () => {
  test.each(recorded.cases.map((run) => [run.name, run] as const))('%s', async (_, run) => {
    await using attune = await start();
    await followDistillation(run, attune, recorded.tolerance.reference);
  });
});

describe('who writes the completions', () => {
  const made = async (
    attune: Attune,
    own: DistillationArgumentsInput,
    { teacher, trainDataset = prompts }: { teacher?: TeacherChoice; trainDataset?: object[] } = {},
  ) =>
    new DistillationTrainer({
      model: await load(attune),
      teacher: teacher ?? (await teacherOf(attune)),
      trainDataset: trainDataset as never,
      args: await args({ maxCompletionLength: 6, ...own }),
    });

  test('the student', async () => {
    await using attune = await start();
    const logs = await trained(await made(attune, { maxSteps: 2 }));
    expect(logs).toHaveLength(2);
    for (const row of logs) {
      expect(row['completions/max_length']).toBeLessThanOrEqual(6);
      expect(row['completions/mean_length']).toBeGreaterThanOrEqual(1);
      expect(row.entropy).toBeGreaterThan(0);
    }
  });

  test('lmbda is the share of groups that the student writes; the others are the rows', async () => {
    await using attune = await start();
    const trainer = await made(
      attune,
      { lmbda: 0.5, maxSteps: 12, gradientAccumulationSteps: 1 },
      { trainDataset: completed },
    );
    const logs = await trained(trainer);
    const written = logs.filter((row) => 'completions/mean_length' in row).length;
    expect(written).toBeGreaterThan(1);
    expect(written).toBeLessThan(11);
    const evaluation = () => trainer.evaluate(completed.slice(0, 4));
    const { evalLoss } = await evaluation();
    expect((await evaluation()).evalLoss).toBe(evalLoss);
  });

  test('seqKd: the teacher', async () => {
    await using attune = await start();
    const teacher = await teacherOf(attune);
    const generated: LanguageModel[] = [];
    const { generate } = teacher;
    teacher.generate = (options) => {
      generated.push(teacher);
      return generate.call(teacher, options);
    };
    const trainer = await made(attune, { lmbda: 0, seqKd: true, maxSteps: 2 }, { teacher });
    const logs = await trained(trainer);
    expect(generated).toHaveLength(2);
    expect(logs[1]!['completions/mean_length']).toBeGreaterThanOrEqual(1);
  });
});

describe('teachers', () => {
  const adapted = async (attune: Attune, own: DistillationArgumentsInput, teacher: TeacherChoice) =>
    new DistillationTrainer({
      model: await load(attune),
      teacher,
      trainDataset: completed.slice(0, 4),
      peftConfig: { peftType: 'LORA', r: 4, loraAlpha: 8, initLoraWeights: false },
      args: await args({ lmbda: 0, learningRate: 4e-3, maxSteps: 10, ...own }),
    });

  test("'base': an adapter learns to be its base again, and there is one copy of it", async () => {
    await using attune = await start();
    const before = attune.backend.stats.liveBytes;
    const trainer = await adapted(attune, { beta: 0.5 }, 'base');
    const logs = await trained(trainer);
    expect(logs.at(-1)!.loss).toBeLessThan(0.5 * (logs[0]!.loss as number));
    const weights = [...trainer.model.root.namedParameters()].reduce(
      (bytes, [, { tensor }]) => bytes + 4 * tensor.size,
      0,
    );
    expect(attune.backend.stats.liveBytes - before).toBeLessThan(1.5 * weights);
  });

  test('an adapter learns from another model, which stays as it was', async () => {
    await using attune = await start();
    const teacher = await teacherOf(attune);
    const values = async () => {
      const found: number[] = [];
      for (const [, { tensor }] of teacher.root.namedParameters())
        found.push(...(await tensor.data()));
      return found;
    };
    const before = await values();
    const logs = await trained(await adapted(attune, { beta: 0 }, teacher));
    expect(logs.at(-1)!.loss).toBeLessThan(logs[0]!.loss as number);
    expect(await values()).toEqual(before);
  });
});

describe('memory', () => {
  test('no [tokens, vocabulary] exists, of the student or of the teacher', async () => {
    await using attune = await start();
    const [vocabSize, length, batch] = [8192, 64, 64];
    const make = () =>
      AutoModelForCausalLM.fromConfig(
        {
          model_type: 'llama',
          vocab_size: vocabSize,
          hidden_size: 8,
          intermediate_size: 8,
          num_hidden_layers: 1,
          num_attention_heads: 1,
          max_position_embeddings: length,
        },
        { attune },
      );
    const input_ids = Array.from({ length }, (_, i) => i);
    const labels = input_ids.map((id, i) => (i < 4 ? IGNORE_INDEX : id));
    const trainer = new DistillationTrainer({
      model: await make(),
      teacher: await make(),
      trainDataset: Array.from({ length: batch }, () => ({ input_ids, labels })),
      args: await args({
        lmbda: 0,
        beta: 0.5,
        perDeviceTrainBatchSize: batch,
        gradientAccumulationSteps: 1,
      }),
    });
    const { peakBytes } = await trainer.planMemory();
    expect(peakBytes).toBeLessThan(0.4 * 4 * batch * length * vocabSize);
  });
});

describe('what every objective must do', () => {
  const definition = defineObjective({
    name: 'distillation',
    options: z.strictObject({
      beta: z.number(),
      temperature: z.number().default(1),
      lmbda: z.number().default(0),
    }),
    create({ model, args: { maxLength } }, options) {
      const teacher = teachers.get(model.attune)!;
      return distillationObjective(model, {
        ...options,
        teacher,
        maxLength: maxLength!,
        maxCompletionLength: 5,
        preflight: 'off',
      }) as never;
    },
  });
  const tiny = { vocabSize: 17, hiddenSize: 8 };
  const teachers = new WeakMap<Attune, LanguageModel>();
  const kitRows = [5, 3, 7, 4].map((length, i) => ({
    input_ids: Array.from({ length }, (_, t) => (3 * i + 5 * t) % 16),
    labels: Array.from({ length }, (_, t) => (t < 2 ? IGNORE_INDEX : (3 * i + 5 * t) % 16)),
  }));
  const make = (attune: Attune) =>
    AutoModelForCausalLM.fromConfig(
      {
        model_type: 'llama',
        vocab_size: tiny.vocabSize,
        hidden_size: tiny.hiddenSize,
        intermediate_size: 16,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        max_position_embeddings: 64,
        initializer_range: 0.5,
      },
      { attune },
    );
  const kit = {
    rows: kitRows,
    async model(attune: Attune) {
      teachers.set(attune, await make(attune));
      return make(attune);
    },
  };
  const checks = objectiveKit(definition, {
    ...kit,
    options: { beta: 0.3 },
    otherOptions: [{ beta: 0.3, temperature: 2 }, { beta: 0 }, { beta: 0.3, lmbda: 0.5 }],
  });
  for (const { name, run } of checks) test(name, run);
  // What a group writes has its lengths, and a batch of prompts has no items yet.
  const ofWriting = /resumed|left behind|encoding is pure|unknown|does not have/;
  for (const lmbda of [0.5, 1])
    for (const { name, run } of objectiveKit(definition, { ...kit, options: { beta: 0.3, lmbda } }))
      if (ofWriting.test(name)) test(`lmbda ${lmbda}: ${name}`, run);
});

describe('refuses', () => {
  const refused = async (
    own: DistillationArgumentsInput,
    { teacher, trainDataset = completed, ...more }: Record<string, unknown>,
    message: RegExp,
  ) => {
    await using attune = await start();
    const model = await load(attune);
    const choose = teacher as (attune: Attune, model: LanguageModel) => Promise<TeacherChoice>;
    await expect(
      (async () => {
        const trainer = new DistillationTrainer({
          model,
          trainDataset: trainDataset as never,
          teacher: await choose(attune, model),
          args: await args({ lmbda: 0, maxSteps: 1, ...own }),
          ...more,
        });
        await trainer.train();
      })(),
    ).rejects.toThrow(message);
  };
  const good = { teacher: teacherOf };
  const cases: Record<string, Parameters<typeof refused>> = {
    'another vocabulary': [
      {},
      { teacher: (attune: Attune) => load(attune, 'tiny-qwen2') },
      /vocabulary of 128 tokens, the model of 256/,
    ],
    'the student itself': [
      {},
      { teacher: async (_: Attune, model: LanguageModel) => model },
      /teacher is the model that is trained/,
    ],
    'another Attune': [
      {},
      { teacher: async () => load(await start()) },
      /teacher lies on another Attune/,
    ],
    "'base' of a model without adapters": [{}, { teacher: async () => 'base' }, /no adapters/],
    'a teacher that writes no text': [
      {},
      {
        teacher: (attune: Attune) =>
          AutoModelForSequenceClassification.fromPretrained(join(fixtures, 'tiny-llama'), {
            attune,
            dtype: 'float32',
            numLabels: 1,
          }),
      },
      /SEQ_CLS/,
    ],
    'a name for a teacher': [
      {},
      { teacher: async () => 'tiny-llama' },
      /teacher is text "tiny-llama"/,
    ],
    'no teacher': [{}, { teacher: async () => undefined }, /teacher is missing/],
    'two teachers': [
      {},
      { ...good, teacherModel: 'base' },
      /teacher and teacherModel are both given/,
    ],
    'beta above 1': [{ beta: 1.5 }, good, /beta/],
    'beta below 0': [{ beta: -0.1 }, good, /beta/],
    'temperature 0': [{ temperature: 0 }, good, /temperature/],
    'lmbda above 1': [{ lmbda: 2 }, good, /lmbda/],
    'prompts alone where rows are read': [
      {},
      { ...good, trainDataset: [{ prompt: 'Hello' }] },
      /no completion to learn from \(columns "prompt"\).*lmbda: 1/,
    ],
    'an empty completion': [
      {},
      { ...good, trainDataset: [{ prompt: 'Hello', completion: '' }] },
      /the completion is empty/,
    ],
    'a conversation that the user ends': [
      {},
      {
        ...good,
        trainDataset: [
          {
            messages: [
              { role: 'assistant', content: 'Hello' },
              { role: 'user', content: 'Hello' },
            ],
          },
        ],
      },
      /the last message is of "user"/,
    ],
    'ids without labels': [
      {},
      { ...good, trainDataset: [{ input_ids: [3, 4, 5] }] },
      /which of its tokens are the completion/,
    ],
    'completions longer than the model': [
      { lmbda: 1, maxCompletionLength: 500 },
      { ...good, trainDataset: prompts },
      /maxCompletionLength is 500, and the model allows 128/,
    ],
  };
  test.each(Object.entries(cases))('%s', (_, given) => refused(...given));
});
