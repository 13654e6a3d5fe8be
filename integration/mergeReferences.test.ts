import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AutoModelForCausalLM, createAttune, silentLogger } from '@attune/core';
import { WeightFolder } from '@attune/core/io';
import { explainTensor, mergeModels, planMerge } from '@attune/merge';
import { PeftModel, peft } from '@attune/peft';
import { expect, onTestFinished, test } from 'vitest';

// `base+adapter`: what merging gives is what @attune/peft merges.

const fixtures = join(import.meta.dirname, '../parity/fixtures');
const base = join(fixtures, 'tiny-llama');
const adapter = (name: string) => join(fixtures, 'adapters', name);

async function open() {
  const attune = await createAttune({
    plugins: [peft()],
    logger: silentLogger,
    backend: 'reference',
  });
  onTestFinished(() => attune.dispose());
  return attune;
}

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'attune-merge-adapters-'));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  return path;
}

const passthrough = (...models: string[]) => ({
  mergeMethod: 'passthrough',
  models: models.map((model) => ({ model })),
});

test('an adapter is merged into its base as PeftModel merges it', async () => {
  const attune = await open();
  const scratch = await folder();
  const plan = await planMerge(passthrough(`${base}+${adapter('lora-qv')}`), { attune });
  const adapted = plan.tasks.filter(({ inputs }) => inputs[0]!.source.kind === 'adapted');
  expect(adapted.map(({ name }) => name.split('.').slice(-3).join('.')).sort()).toEqual(
    [0, 1]
      .flatMap(() => ['self_attn.q_proj.weight'])
      .concat([0, 1].flatMap(() => ['self_attn.v_proj.weight'])),
  );
  expect(explainTensor(plan, adapted[0]!.name)).toContain('lora-qv adds to');
  const outputDir = join(scratch, 'merged');
  await mergeModels(passthrough(`${base}+${adapter('lora-qv')}`), {
    attune,
    outputDir,
    workers: 0,
  });
  const model = await AutoModelForCausalLM.fromPretrained(base, { attune });
  const merged = await (await PeftModel.fromPretrained(model, adapter('lora-qv'))).mergeAndUnload();
  await merged.savePretrained(join(scratch, 'peft'));
  await using ours = await WeightFolder.open(outputDir);
  await using theirs = await WeightFolder.open(join(scratch, 'peft'));
  expect([...ours.names].sort()).toEqual([...theirs.names].sort());
  for (const name of ours.names) {
    const [a, b] = [await ours.get(name), await theirs.get(name)];
    for (const [i, value] of (a.data as Float32Array).entries())
      expect(Math.abs(value - (b.data as Float32Array)[i]!)).toBeLessThan(1e-6);
  }
});

test('an adapter of another base, and one that is no difference: both in one message', async () => {
  const attune = await open();
  const scratch = await folder();
  const small = join(scratch, 'small');
  await cp(base, small, { recursive: true });
  await writeFile(join(small, 'README.md'), '');
  const file = await readFile(join(small, 'model.safetensors'));
  const length = Number(file.readBigUInt64LE());
  const header = JSON.parse(file.toString('utf8', 8, 8 + length));
  for (const [name, info] of Object.entries<{ shape: number[] }>(header))
    if (name.includes('q_proj')) info.shape.reverse().push(1);
  const text = Buffer.from(JSON.stringify(header).padEnd(length));
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(text.length));
  await writeFile(
    join(small, 'model.safetensors'),
    Buffer.concat([prefix, text, file.subarray(8 + length)]),
  );
  const config = passthrough(
    `${small}+${adapter('lora-qv')}`,
    `${base}+${adapter('dora-qv')}`,
    `${base}+${adapter('qwen2-bias-all')}`,
  );
  const error = await planMerge({ ...config, mergeMethod: 'karcher' }, { attune }).catch(
    (e: Error) => e,
  );
  const message = (error as Error).message;
  expect(message).toMatch(
    /models\[0\].*lora-qv is an adapter of another base than .*small \(it names "tiny-llama"\): it changes "model\.layers\.0\.self_attn\.q_proj\.weight" as \[/,
  );
  expect(message).toMatch(/models\[1\].*has magnitudes \(use_dora\)/);
  expect(message).toMatch(/models\[2\]/);
});
