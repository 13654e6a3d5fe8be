import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { dawn } from '@attune/backend-dawn';
import {
  type Attune,
  AutoModelForCausalLM,
  createAttune,
  type LanguageModel,
  ops,
  SFTTrainer,
  silentLogger,
} from '@attune/core';
import { decode } from '@attune/core/backend';
import { PeftModel, peft } from '@attune/peft';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  argumentsOf,
  expectUpdates,
  updatesOf,
} from '../../packages/core/test/trainer/recordedRun.js';
import { hashed, realSize, realSizeAdapter, realSizeFolder } from './hashedFolder.js';
import { temporaryFolder } from './support.js';

const nf4 = {
  loadIn4bit: true,
  bnb4bitQuantType: 'nf4',
  bnb4bitUseDoubleQuant: true,
} as const;

test('the rule of the weights is that of the script', () => {
  for (const [name, values] of Object.entries(realSize.samples)) {
    const std = name.endsWith('bias') ? 0.1 : 0.02;
    const words = hashed({ name, shape: [3], std }, 'bfloat16', 0, 3);
    expect([...decode(words.buffer as ArrayBuffer, 'bfloat16', 3)]).toEqual(values);
  }
});

/** The recorded updates, within 3 % of the planned memory. */
async function follow(model: LanguageModel, name: 'bfloat16' | 'nf4' | 'oneLayer'): Promise<void> {
  const { settings, trace } = realSize.cases[name];
  const data = { trainDataset: realSize.rows };
  const plan = await new SFTTrainer({
    model,
    ...data,
    args: { ...argumentsOf(settings), outputDir: temporaryFolder(), saveStrategy: 'no' },
  }).planMemory();
  const { backend } = model.engine;
  await backend.sync();
  backend.stats.peakBytes = backend.stats.liveBytes;
  const logs = await updatesOf(model, data, argumentsOf(settings));
  expectUpdates(logs, trace, { loss: 1e-4, gradNorm: 1e-3 });
  expect(Math.abs(plan.peakBytes / backend.stats.peakBytes - 1)).toBeLessThan(0.03);
}

// Its bindings end at 128 MiB. The embedding has 272 MB in 16 bits, 544 MB in 32.
describe('lavapipe', () => {
  let attune: Attune;
  let folders: string[];
  const folder = (made: string): string => {
    folders.push(made);
    return made;
  };
  beforeEach(async () => {
    folders = [];
    const plugins = [dawn({ adapter: 'lavapipe' }), peft()];
    attune = await createAttune({ plugins, logger: silentLogger });
  });
  afterEach(async () => {
    await attune[Symbol.asyncDispose]();
    for (const path of folders) rmSync(path, { recursive: true }); // gigabytes
  });

  test.each([
    ['bfloat16', undefined],
    ['nf4', nf4],
  ] as const)(
    'the shape of Qwen2.5-0.5B in %s: greedy ids and first updates of LoRA',
    async (name, quantization) => {
      const { prompt, greedy } = realSize.cases[name];
      const base = await AutoModelForCausalLM.fromPretrained(folder(realSizeFolder()), {
        attune,
        ...(quantization && { quantization }),
      });
      const generated = await base.generate({ inputIds: [prompt], maxNewTokens: greedy.length });
      expect(generated.sequences).toEqual([[...prompt, ...greedy]]);
      const adapter = folder(realSizeAdapter());
      const model = await PeftModel.fromPretrained(base, adapter, { isTrainable: true });
      await follow(model, name);
    },
  );

  test('a layer of it between tied tables trains in full, is saved and read again', async () => {
    const float32 = { attune, dtype: 'float32' } as const;
    const path = folder(realSizeFolder(1));
    const trained = await AutoModelForCausalLM.fromPretrained(path, float32);
    await follow(trained, 'oneLayer');
    const prompt = { inputIds: [realSize.cases.bfloat16.prompt], maxNewTokens: 4 };
    const { sequences } = await trained.generate(prompt);
    await trained.savePretrained(join(path, 'saved'));
    trained.dispose();
    const again = await AutoModelForCausalLM.fromPretrained(join(path, 'saved'), float32);
    expect((await again.generate(prompt)).sequences).toEqual(sequences);
  });

  test("Gemma 2's table of 256,000 x 2,304 is looked up and multiplied", async () => {
    const { engine } = attune;
    const [rows, width] = [256_000, 2_304];
    const tensor = { name: 'table', shape: [rows, width], std: 0.02 };
    const table = engine.empty([rows, width], 'bfloat16');
    const half = (rows * width) / 2;
    for (const first of [0, half])
      engine.backend.write(
        table.storage.buffer,
        2 * first,
        hashed(tensor, 'bfloat16', first, first + half),
      );
    const row = (id: number) => {
      const words = hashed(tensor, 'bfloat16', id * width, (id + 1) * width);
      return [...decode(words.buffer as ArrayBuffer, 'bfloat16', width)];
    };
    const ids = [0, 58_253, 58_254, 130_000, 255_999];
    const looked = ops.embedding(table, engine.tensor(ids, [ids.length], 'int32'));
    expect([...(await looked.data())]).toEqual(ids.flatMap(row));
    const logits = await looked.matmul(table, { transposeB: true }).data();
    for (const [i, id] of ids.entries())
      for (const other of [0, 1, 58_253, 58_254, 199_999, 255_999]) {
        const [a, b] = [row(id), row(other)];
        const expected = a.reduce((sum, value, c) => sum + value * b[c]!, 0);
        expect(Math.abs(logits[i * rows + other]! - expected)).toBeLessThan(1e-5);
      }
  });
});
