import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { estimateMemory } from '@attune/core';
import { advise, peft } from '@attune/peft';
import { describe, expect, test } from 'vitest';
import { fixtures } from './support.js';

const fromLeast = ['qlora', 'lora', 'full'] as const;

describe('advise', () => {
  test.each(['100M', 250e6])('%s: more memory never gives a smaller method', async (modelSize) => {
    const { estimates } = await advise({ gpuMemory: '1TB', modelSize });
    const sizes = fromLeast.map((method) => estimates[method].predictedBytes);
    expect(sizes.toSorted((a, b) => a - b)).toEqual(sizes);
    const advised: (string | null)[] = [];
    for (const gpuMemory of sizes.flatMap((bytes) => [bytes - 1, bytes]))
      advised.push((await advise({ gpuMemory, modelSize })).method);
    expect(advised).toEqual([null, 'qlora', 'qlora', 'lora', 'lora', 'full']);
  });

  test('several tasks get an adapter each, on one base', async () => {
    const one = await advise({ gpuMemory: '8GB', modelSize: '100M' });
    expect(one.method).toBe('full');
    const { method, reasons, estimates } = await advise({
      gpuMemory: '8GB',
      modelSize: '100M',
      tasks: 5,
    });
    expect(method).toBe('lora');
    expect(reasons.join(' ')).toContain('5 tasks');
    const { full, lora } = estimates;
    expect(full.keptBytes).toBe(5 * 4 * full.plan.parameters);
    expect(lora.keptBytes).toBeLessThan(full.keptBytes / 5);
  });

  test('a model without size is a Llama of as many parameters', async () => {
    for (const [size, parameters] of [
      ['100M', 1e8],
      ['360M', 3.6e8],
      [1.1e9, 1.1e9],
    ] as const) {
      const { estimates, reasons } = await advise({ gpuMemory: '1TB', modelSize: size });
      expect(Math.abs(estimates.full.plan.parameters / parameters - 1)).toBeLessThan(0.1);
      expect(reasons.at(-1)).toContain('taken for a Llama of');
    }
  });

  test('a config.json is asked itself: the bytes are those of estimateMemory', async () => {
    const modelSize = JSON.parse(readFileSync(join(fixtures, 'tiny-qwen2/config.json'), 'utf8'));
    const advice = await advise({ gpuMemory: '1GiB', modelSize, maxLength: 64 });
    const plan = await estimateMemory({
      config: modelSize,
      plugins: [peft()],
      args: { maxLength: 64, perDeviceTrainBatchSize: 1, gradientCheckpointing: true },
    });
    expect(advice.estimates.full.predictedBytes).toBe(plan.reservedBytes);
    expect(advice.reasons.join(' ')).not.toContain('taken for a Llama');
    const named = await advise({
      gpuMemory: '1GiB',
      modelSize: join(fixtures, 'tiny-qwen2'),
      maxLength: 64,
    });
    expect(String(named)).toBe(String(advice));
    expect(String(advice)).toMatch(/^full, on a device of 1GiB .*\n- .*[\s\S]*QLoRA .*fits$/);
  });

  test('when nothing fits it says what holds less', async () => {
    const { method, reasons } = await advise({ gpuMemory: '20MB', modelSize: '100M' });
    expect(method).toBeNull();
    expect(reasons[1]).toMatch(/maxLength.*offload/);
  });

  test.each([
    [{ gpuMemory: 'much', modelSize: '7B' }, /SIZE_INVALID.*gpuMemory is "much"/],
    [{ gpuMemory: '24GB', modelSize: 'large' }, /ADVISE_INVALID.*modelSize is "large"/],
    [{ gpuMemory: '24GB', modelSize: 7 }, /ADVISE_INVALID[\s\S]*a million or more/],
    [{ gpuMemory: '24GB', modelSize: '7B', tasks: 0 }, /ADVISE_INVALID.*tasks is 0/],
    [{ gpuMemory: '24GB', modelSize: '7B', maxLength: 1.5 }, /ADVISE_INVALID.*maxLength is 1.5/],
    [{ gpuMemory: '24GB', modelSize: { model_type: 'nope' } }, /nope/],
  ])('%o is refused', async (options, message) => {
    await expect(advise(options)).rejects.toThrow(message);
  });
});
