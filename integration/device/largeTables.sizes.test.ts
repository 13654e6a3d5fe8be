import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { AutoModelForCausalLM, type LanguageModel, ops, SFTTrainer } from '@attune/core';
import { PeftModel } from '@attune/peft';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  bfloat16Of,
  largeTables,
  levels,
  levelValue,
  writeLargeAdapter,
  writeLargeModel,
} from './largeTables.js';
import { onDawn, temporaryFolder } from './support.js';

// A table of 151,936 x 896: 272 MB in 16 bits, 544 MB in 32. Bindings of lavapipe end at 128 MiB.

const tables = largeTables();
const folder = temporaryFolder();
beforeAll(async () => {
  await writeLargeModel(join(folder, 'whole'), tables, tables.config.num_hidden_layers);
  await writeLargeModel(join(folder, 'one-layer'), tables, 1);
  await writeLargeAdapter(join(folder, 'adapter'), tables);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function losses(model: LanguageModel): Promise<number[]> {
  const { stats } = model.engine.backend;
  const trainer = new SFTTrainer({
    model: model as ConstructorParameters<typeof SFTTrainer>[0]['model'],
    trainDataset: tables.rows.map((ids) => ({ input_ids: ids, labels: ids })),
    args: {
      ...{ outputDir: join(folder, 'run'), saveStrategy: 'no', loggingSteps: 1 },
      ...{ maxSteps: tables.rows.length, perDeviceTrainBatchSize: 1, maxLength: 16 },
      ...{ learningRate: tables.learningRate, lrSchedulerType: 'constant', weightDecay: 0 },
      shuffle: false,
    },
  });
  await model.engine.backend.sync();
  const plan = await trainer.planMemory();
  stats.peakBytes = stats.liveBytes;
  await trainer.train();
  expect(Math.abs(plan.peakBytes / stats.peakBytes - 1)).toBeLessThan(0.03);
  return trainer.state.logHistory.flatMap(({ loss }) => (typeof loss === 'number' ? [loss] : []));
}

function expectLosses(got: readonly number[], expected: readonly number[]): void {
  expect(got).toHaveLength(expected.length);
  got.forEach((loss, i) => {
    expect(Math.abs(loss - expected[i]!)).toBeLessThan(1e-3);
  });
}

test('a model of 494 M parameters continues greedily and trains by LoRA as in Python', async () => {
  await using attune = await onDawn();
  const plain = await AutoModelForCausalLM.fromPretrained(join(folder, 'whole'), {
    ...{ attune, dtype: 'bfloat16' },
  });
  const { sequences } = await plain.generate({
    ...{ inputIds: [tables.prompt], maxNewTokens: tables.greedy.length, doSample: false },
  });
  expect(sequences[0]!.slice(-tables.greedy.length)).toEqual(tables.greedy);
  const model = await PeftModel.fromPretrained(plain, join(folder, 'adapter'), {
    isTrainable: true,
  });
  expectLosses(await losses(model), tables.loraLosses);
});

test('a layer between tied tables of 544 MB trains in full, is saved and read again', async () => {
  const saved = join(folder, 'saved');
  await using attune = await onDawn();
  const float32 = { attune, dtype: 'float32' } as const;
  const prompt = { inputIds: [tables.prompt], maxNewTokens: 4, doSample: false };
  const trained = await AutoModelForCausalLM.fromPretrained(join(folder, 'one-layer'), float32);
  expectLosses(await losses(trained), tables.fullLossesOfOneLayer);
  const { sequences } = await trained.generate(prompt);
  await trained.savePretrained(saved);
  trained.dispose();
  const again = await AutoModelForCausalLM.fromPretrained(saved, float32);
  expect((await again.generate(prompt)).sequences).toEqual(sequences);
});

test("Gemma 2's table of 256,000 x 2,304 is looked up and multiplied", async () => {
  await using attune = await onDawn();
  const { engine } = attune;
  const [rows, width] = [256_000, 2_304];
  const table = engine.empty([rows, width], 'bfloat16');
  const bits = bfloat16Of('table', [rows, width]);
  const half = bits.length / 2;
  for (const first of [0, half])
    engine.backend.write(table.storage.buffer, 2 * first, bits.subarray(first, first + half));
  const held = levels('table', rows * width);
  const at = (row: number, column: number) => levelValue(held[row * width + column]!);
  const ids = [0, 58_253, 58_254, 130_000, 255_999];
  const looked = ops.embedding(table, engine.tensor(ids, [ids.length], 'int32'));
  expect(Array.from(await looked.data())).toEqual(
    ids.flatMap((id) => Array.from({ length: width }, (_, c) => at(id, c))),
  );
  const logits = await looked.matmul(table, { transposeB: true }).data();
  for (const [i, id] of ids.entries())
    for (const row of [0, 1, 58_253, 58_254, 199_999, 255_999]) {
      let expected = 0;
      for (let c = 0; c < width; c++) expected += at(id, c) * at(row, c);
      expect(Math.abs(logits[i * rows + row]! - expected)).toBeLessThan(1e-5);
    }
});
