import { type Attune, AutoModelForCausalLM, AutoTokenizer, loadDataset } from '@attune/core';
import { SafetensorsFile } from '@attune/core/io';
import { PeftModel } from '@attune/peft';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
// How a recorded run is followed is the same in all packages.
import { VARIANT_UPDATES } from '../../packages/core/test/trainer/recordedRun.js';
import { follow, followQuantized, quantizedRuns } from './recordedRuns.js';
import { fixture, fixtureJson, hasStories, onDawn, shared } from './support.js';

let attune: Attune;
beforeAll(async () => {
  attune = await onDawn();
});
afterAll(() => attune.dispose());

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

  // quantizedRuns.sizes.test.ts follows them to their ends.
  for (const name of quantizedRuns)
    test(`${name}: the first updates`, () => followQuantized(attune, name, VARIANT_UPDATES));

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
