import {
  type Attune,
  AutoModelForCausalLM,
  AutoTokenizer,
  type LanguageModel,
  loadDataset,
  SafetensorsFile,
  SFTTrainer,
} from '@attune/core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { PeftModel } from '../../peft/src/index.js';
import { fixture, fixtureJson, hasStories, onDawn, shared, temporaryFolder } from './support.js';

let attune: Attune;
beforeAll(async () => {
  attune = await onDawn();
});
afterAll(() => attune.dispose());

interface Entry {
  readonly loss: number;
  readonly gradNorm: number;
  readonly learningRate: number;
}

const relative = (ours: number, theirs: number) =>
  Math.abs(ours - theirs) / Math.max(Math.abs(theirs), 1e-12);

/** 30 updates from PEFT's initial adapter; expects transformers + PEFT's loss, norm and rate at each. */
async function follow(
  name: string,
  model: LanguageModel,
  data: Pick<ConstructorParameters<typeof SFTTrainer>[0], 'trainDataset' | 'tokenizer'>,
  extra: { maxLength?: number; completionOnlyLoss?: boolean } = {},
) {
  const { settings, trace } = fixtureJson(`${name}/run.json`);
  const logs: Entry[] = [];
  const trainer = new SFTTrainer({
    model,
    ...data,
    args: {
      outputDir: temporaryFolder(),
      saveStrategy: 'no',
      shuffle: false,
      loggingSteps: 1,
      maxSteps: settings.maxSteps,
      perDeviceTrainBatchSize: settings.perDeviceTrainBatchSize,
      gradientAccumulationSteps: settings.gradientAccumulationSteps,
      learningRate: settings.learningRate,
      lrSchedulerType: settings.lrSchedulerType,
      warmupSteps: settings.warmupSteps,
      weightDecay: settings.weightDecay,
      maxGradNorm: settings.maxGradNorm,
      ...extra,
    },
  });
  trainer.on('log', (event) => logs.push(event.logs as unknown as Entry));
  await trainer.train();
  const steps = logs.filter((entry) => entry.gradNorm !== undefined);
  expect(steps).toHaveLength(trace.length);
  const worst = { loss: 0, gradNorm: 0, learningRate: 0 };
  for (const [i, ours] of steps.entries())
    for (const key of ['loss', 'gradNorm', 'learningRate'] as const)
      worst[key] = Math.max(worst[key], relative(ours[key], trace[i][key]));
  // The issue allows 1e-3 and 1e-2; float32 on the device stays far inside.
  expect(worst.loss).toBeLessThan(1e-4);
  expect(worst.gradNorm).toBeLessThan(1e-3);
  expect(worst.learningRate).toBeLessThan(1e-9);
}

describe('30 updates of LoRA follow transformers + PEFT', () => {
  for (const name of ['lora-run-tiny', 'lora-run-tiny-2'])
    test(name, async () => {
      const { rows, base } = fixtureJson(`${name}/run.json`);
      const plain = await AutoModelForCausalLM.fromPretrained(fixture(base), {
        attune,
        dtype: 'float32',
      });
      const model = await PeftModel.fromPretrained(plain, fixture(`${name}/initial`), {
        isTrainable: true,
      });
      await follow(name, model, { trainDataset: rows });
      const expected = await SafetensorsFile.open(fixture(`${name}/expected.safetensors`));
      expect(expected.names).toContain('final_logits');
      await expected.close();
    });

  // On weights of 4 and 8 bits, 20 updates.
  for (const name of ['tiny-llama-tied-nf4', 'tiny-qwen2-fp4', 'tiny-qwen2-int8'])
    test(name, async () => {
      const { rows } = fixtureJson(`${name}/run.json`);
      const quantized = await AutoModelForCausalLM.fromPretrained(fixture(name), { attune });
      const model = await PeftModel.fromPretrained(quantized, fixture(`${name}/initial`), {
        isTrainable: true,
      });
      await follow(name, model, { trainDataset: rows });
    });

  test.skipIf(!hasStories)('lora-run-stories260k (needs the shared model and data)', async () => {
    const folder = shared('models/stories260k');
    const plain = await AutoModelForCausalLM.fromPretrained(folder, { attune, dtype: 'float32' });
    const initial = fixture('lora-run-stories260k/initial');
    const model = await PeftModel.fromPretrained(plain, initial, { isTrainable: true });
    const tokenizer = await AutoTokenizer.fromPretrained(folder);
    const rows = await loadDataset('json', { dataFiles: shared('datasets/nl2bash/train.jsonl') });
    await follow(
      'lora-run-stories260k',
      model,
      { trainDataset: rows.select(480), tokenizer },
      { maxLength: 160, completionOnlyLoss: true },
    );
  });
});

describe.skipIf(!hasStories)('stories260k (needs the shared model)', () => {
  test('logits of 8 texts are those of transformers within 1e-4', async () => {
    const { engine } = attune;
    const model = await AutoModelForCausalLM.fromPretrained(shared('models/stories260k'), {
      attune,
      dtype: 'float32',
    });
    const file = await SafetensorsFile.open(fixture('stories260k/logits.safetensors'));
    const { texts } = fixtureJson('stories260k/texts.json');
    let worst = 0;
    for (const { index, ids } of texts) {
      const theirs = (await file.read(`logits.${index}`)) as { data: ArrayLike<number> };
      const logits = engine.scope('logits', () =>
        engine.noGrad(() =>
          model.forward({
            inputIds: engine.fromBytes(Int32Array.from(ids), [1, ids.length], 'int32'),
          }),
        ),
      );
      const ours = await logits.data();
      logits.dispose();
      for (let i = 0; i < ours.length; i++)
        worst = Math.max(worst, Math.abs(ours[i]! - theirs.data[i]!));
    }
    await file.close();
    expect(worst).toBeLessThan(1e-4);
    model.dispose();
  });

  test('greedy text is that of transformers', async () => {
    const model = await AutoModelForCausalLM.fromPretrained(shared('models/stories260k'), {
      attune,
      dtype: 'float32',
    });
    const { greedy } = fixtureJson('stories260k/texts.json');
    const { sequences } = await model.generate({ inputIds: greedy.promptIds, maxNewTokens: 64 });
    expect(sequences[0]).toEqual(greedy.ids);
    model.dispose();
  });
});
