import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { AutoModelForCausalLM, Engine, numel, SFTTrainer } from '@attune/core';
import { describe, expect, test } from 'vitest';
import { createDawnBackend, defineKernel, grid1d, stage, u32 } from '../src/index.js';
import { fixture, onDawn, temporaryFolder } from './support.js';
import { timeBy } from './timeBy.js';

/** x^2 in a way that counts as slow, which comes first, and in one that counts as fast. */
const square = defineKernel({
  op: 'square',
  variants: ({ inputs }) => ({ key: inputs[0]!.dtype, names: ['slow', 'fast'] }),
  plan: ({ inputs: [x], outputs }, _facts, _scratch, variant = 'slow') => {
    const n = numel(x!.shape);
    return [
      stage({
        key: `test.square:${variant}`,
        reads: { x: x! },
        writes: { out: outputs[0]! },
        params: { n: u32(n) },
        workgroup: 64,
        body: '  if (gid < p.n) { out[gid] = x(gid) * x(gid); }',
        grid: grid1d(n, 64),
      }),
    ];
  },
});

async function open(tuning: string | false) {
  const backend = await createDawnBackend({ kernels: [square], tuning });
  const engine = new Engine(backend);
  const work = async () => {
    engine.scope('work', () => {
      const x = engine.ones([2048]);
      x.square();
      x.add(x);
      return null;
    });
  };
  const variantInUse = async () => {
    const timings = await backend.profile(work);
    return timings.find(({ op }) => op === 'square')!.kernels[0]!.name;
  };
  return { backend, work, variantInUse };
}

describe('tuning', () => {
  test('takes the faster variant, keeps it in a file, and finds it there', async () => {
    const file = join(temporaryFolder(), 'tuning.json');
    const first = await open(file);
    timeBy(first.backend, (kernel) => (kernel === 'test.square:fast' ? 1 : 10));
    expect(await first.variantInUse()).toBe('test.square:slow');
    const report = await first.backend.tune(first.work);
    expect(report).toMatchObject({
      complete: true,
      choices: { 'square:float32': 'fast' },
      file,
    });
    expect(await first.variantInUse()).toBe('test.square:fast');
    await first.backend[Symbol.asyncDispose]();

    const second = await open(file);
    expect(await second.variantInUse()).toBe('test.square:fast');
    await second.backend[Symbol.asyncDispose]();

    const contents = JSON.parse(readFileSync(file, 'utf8'));
    for (const adapter of Object.keys(contents.adapters))
      contents.adapters[adapter] = { 'square:float32': 'gone' };
    writeFileSync(file, JSON.stringify(contents));
    const third = await open(file);
    expect(await third.variantInUse()).toBe('test.square:slow');
    await third.backend[Symbol.asyncDispose]();
  });

  test('stops when its time is over, and says so', async () => {
    const { backend, work } = await open(false);
    const report = await backend.tune(work, { maxSeconds: 0 });
    expect(report).toMatchObject({
      complete: false,
      choices: { 'square:float32': 'slow' },
      file: null,
    });
    await backend[Symbol.asyncDispose]();
  });

  test.each(['', 'not JSON', '[]', '{"version":2,"adapters":{}}', '{"version":1}'])(
    'a file that holds %j is as good as none',
    async (text) => {
      const file = join(temporaryFolder(), 'tuning.json');
      writeFileSync(file, text);
      const { backend, work, variantInUse } = await open(file);
      expect(await variantInUse()).toBe('test.square:slow');
      await backend.tune(work);
      expect(JSON.parse(readFileSync(file, 'utf8')).version).toBe(1);
      await backend[Symbol.asyncDispose]();
    },
  );

  test('a file that cannot be written is an error with a way out', async () => {
    const inTheWay = join(temporaryFolder(), 'a-file');
    writeFileSync(inTheWay, '');
    const { backend, work } = await open(join(inTheWay, 'tuning.json'));
    await expect(backend.tune(work)).rejects.toThrow(
      /TUNING_FILE: cannot write .*\n.*dawn\(\{ tuning/,
    );
    await backend[Symbol.asyncDispose]();
  });

  test('a trainer tunes with its own rows and leaves the model alone', async () => {
    const attune = await onDawn();
    const model = await AutoModelForCausalLM.fromPretrained(fixture('tiny-llama'), {
      attune,
      dtype: 'float32',
    });
    const ids = Array.from({ length: 16 }, (_, i) => i * 3);
    const trainer = new SFTTrainer({
      model,
      trainDataset: [{ input_ids: ids, labels: ids }],
      args: { outputDir: temporaryFolder(), saveStrategy: 'no', maxSteps: 1 },
    });
    const [, weight] = [...model.root.namedParameters()][2]!;
    const before = await weight.tensor.data();
    const { complete, file } = await trainer.tune({ maxSeconds: Number.POSITIVE_INFINITY });
    expect(complete).toBe(true);
    expect(existsSync(file!)).toBe(true);
    expect(await weight.tensor.data()).toEqual(before);
    await attune.dispose();
  });
});
