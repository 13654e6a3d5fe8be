import {
  type Attune,
  AutoModelForCausalLM,
  AutoTokenizer,
  type LanguageModel,
  loadDataset,
  type SftArgumentsInput,
} from '@attune/core';
import { SafetensorsFile } from '@attune/core/io';
import { PeftModel } from '@attune/peft';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
// How a recorded run is followed is the same in all packages.
import {
  argumentsOf,
  expectUpdates,
  updatesOf,
} from '../../packages/core/test/trainer/recordedRun.js';
import { fixture, fixtureJson, hasStories, onDawn, shared } from './support.js';

let attune: Attune;
beforeAll(async () => {
  attune = await onDawn();
});
afterAll(() => attune.dispose());

/**
 * Updates from PEFT's initial adapter; expects transformers + PEFT's loss, norm and rate at each.
 */
async function follow(
  name: string,
  model: LanguageModel,
  data: Parameters<typeof updatesOf>[1],
  extra: SftArgumentsInput = {},
) {
  const { settings, trace } = fixtureJson(`${name}/run.json`);
  const updates = await updatesOf(model, data, { ...argumentsOf(settings), ...extra });
  // 1e-3 and 1e-2 would do; float32 on the device stays far inside.
  expectUpdates(updates, trace, { loss: 1e-4, gradNorm: 1e-3 });
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
