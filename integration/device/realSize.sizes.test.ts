import { rmSync } from 'node:fs';
import { dawn } from '@attune/backend-dawn';
import { AutoModelForCausalLM, createAttune, SFTTrainer, silentLogger } from '@attune/core';
import { PeftModel, peft } from '@attune/peft';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
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
    const floats = new Float32Array(Uint32Array.from(words, (word) => word << 16).buffer);
    expect([...floats]).toEqual(values);
  }
});

// Its bindings end at 128 MiB; the embedding has 272 MB.
describe('a model of the shape of Qwen2.5-0.5B on lavapipe', () => {
  let folder: string;
  beforeAll(() => {
    folder = realSizeFolder();
  });
  afterAll(() => rmSync(folder, { recursive: true })); // a gigabyte

  test.each([
    ['bfloat16', undefined],
    ['nf4', nf4],
  ] as const)(
    '%s: greedy ids, first updates of LoRA, planned memory',
    async (name, quantization) => {
      const { prompt, greedy, settings, trace } = realSize.cases[name];
      await using attune = await createAttune({
        plugins: [dawn({ adapter: 'lavapipe' }), peft()],
        logger: silentLogger,
      });
      const base = await AutoModelForCausalLM.fromPretrained(folder, {
        attune,
        ...(quantization && { quantization }),
      });
      const generated = await base.generate({ inputIds: [prompt], maxNewTokens: greedy.length });
      expect(generated.sequences).toEqual([[...prompt, ...greedy]]);
      const model = await PeftModel.fromPretrained(base, realSizeAdapter(), { isTrainable: true });
      const data = { trainDataset: realSize.rows };
      const plan = await new SFTTrainer({
        model,
        ...data,
        args: { ...argumentsOf(settings), outputDir: temporaryFolder(), saveStrategy: 'no' },
      }).planMemory();
      const { stats } = attune.backend;
      await attune.backend.sync();
      stats.peakBytes = stats.liveBytes;
      const logs = await updatesOf(model, data, argumentsOf(settings));
      expectUpdates(logs, trace, { loss: 1e-3, gradNorm: 1e-2 });
      expect(Math.abs(plan.peakBytes / stats.peakBytes - 1)).toBeLessThan(0.03);
    },
  );
});
