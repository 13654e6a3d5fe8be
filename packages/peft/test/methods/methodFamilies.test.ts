import { getPeftModel } from '@attune/peft';
import { describe, expect, test } from 'vitest';
import { disturb, largestDifference, load, logits, open, untyped } from '../support.js';

const configs = [
  { peftType: 'IA3' },
  { peftType: 'VERA', r: 4, targetModules: 'all-linear' },
  { peftType: 'ADAPTER' },
  { peftType: 'LAYER_SELECT', lastLayers: 1, finalNorm: true, head: true },
  { peftType: 'FULL' },
];

/**
 * Other block names, transposed weights, one projection for several, norms of another form, a tied
 * head.
 */
describe.each(['tiny-gpt2', 'tiny-phi3', 'tiny-gemma3', 'tiny-qwen3'])('%s', (name) => {
  test.each(configs)('%o', async (given) => {
    const attune = await open();
    const base = await load(attune, name, 'float32');
    const before = await logits(base);
    const { modelType } = base.config;
    // PEFT's table has no Phi-3.
    const isUnknown = modelType === 'phi3' && given.peftType === 'IA3';
    if (isUnknown) expect(() => getPeftModel(base, untyped(given))).toThrow(/PEFT_TARGETS_NEEDED/);
    const own = { targetModules: ['qkv_proj', 'down_proj'], feedforwardModules: ['down_proj'] };
    const model = getPeftModel(base, untyped(isUnknown ? { ...given, ...own } : given));
    expect(await logits(model)).toEqual(before);
    disturb(model, 0.05);
    const adapted = await logits(model);
    expect(largestDifference(adapted, before)).toBeGreaterThan(1e-3);

    // With a cache, one token at a time, as without.
    const prompt = [5, 9, 2, 7, 30];
    const { sequences } = await model.generate({ inputIds: prompt, maxNewTokens: 2 });
    expect(sequences[0]![prompt.length]).toBe(argmax(adapted.slice(-base.config.vocabSize)));

    if (given.peftType === 'ADAPTER') {
      await expect(model.mergeAdapter()).rejects.toThrow(/PEFT_NOT_MERGEABLE/);
    } else {
      await model.mergeAdapter();
      expect(largestDifference(await logits(model), adapted)).toBeLessThan(1e-4);
    }
    expect(await logits(model.unload())).toEqual(before);
  });
});

const argmax = (values: Float32Array): number => values.indexOf(Math.max(...values));
