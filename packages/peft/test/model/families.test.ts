import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AutoModelForSequenceClassification } from '@attune/core';
import { getPeftModel, PeftModel } from '@attune/peft';
import { describe, expect, test } from 'vitest';
import { fixtures, folder, largestDifference, load, logits, open } from '../support.js';

/** B starts random, so that the adapter shows. */
const lora = {
  peftType: 'LORA',
  r: 4,
  initLoraWeights: false,
  targetModules: 'all-linear',
} as const;

describe.each(['tiny-gpt2', 'tiny-phi3', 'tiny-gemma3'])('%s', (name) => {
  test('merged equals adapted, unmerged is the base', async () => {
    const attune = await open();
    const model = await load(attune, name, 'float32');
    const base = await logits(model);
    const peft = getPeftModel(model, lora);
    const adapted = await logits(peft);
    expect(largestDifference(adapted, base)).toBeGreaterThan(0.01);
    await peft.mergeAdapter({ safeMerge: true });
    expect(largestDifference(await logits(peft), adapted)).toBeLessThan(1e-5);
    peft.unmergeAdapter();
    expect(largestDifference(await logits(peft.unload()), base)).toBe(0);
  });
});

test("GPT-2's Conv1D layers are linear layers", async () => {
  const attune = await open();
  const peft = getPeftModel(await load(attune, 'tiny-gpt2', 'float32'), lora);
  expect(peft.peftConfig.default!.targetModules).toEqual(['c_attn', 'c_proj', 'c_fc']);
  const shapes = Object.fromEntries([...peft.root.namedParameters()].map(([n, p]) => [n, p.shape]));
  expect(shapes['transformer.h.0.attn.c_attn.lora_A.default.weight']).toEqual([4, 64]);
  expect(shapes['transformer.h.0.attn.c_attn.lora_B.default.weight']).toEqual([192, 4]);
});

test('a classifier trains its score with the adapter, and both are saved', async () => {
  const attune = await open();
  const from = join(fixtures, 'tiny-llama');
  const fresh = () => AutoModelForSequenceClassification.fromPretrained(from, { attune });
  const peft = getPeftModel(await fresh(), { ...lora, targetModules: ['q_proj'] });
  const trainable = [...peft.root.namedParameters()].filter(([, p]) => p.trainable);
  expect(trainable.map(([n]) => n)).toContain('score.modules_to_save.default.weight');
  const path = await folder();
  await peft.savePretrained(path);
  const saved = JSON.parse(await readFile(join(path, 'adapter_config.json'), 'utf8'));
  expect(saved).toMatchObject({ task_type: 'SEQ_CLS', modules_to_save: ['score'] });
  const again = await PeftModel.fromPretrained(await fresh(), path);
  expect(largestDifference(await logits(again), await logits(peft))).toBe(0);
});
