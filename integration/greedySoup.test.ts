import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AutoModelForCausalLM, createAttune, silentLogger } from '@attune/core';
import { greedySoup } from '@attune/merge';
import { peft } from '@attune/peft';
import { expect, test } from 'vitest';

const fixtures = join(import.meta.dirname, '../parity/fixtures');

test('a soup of a base and its adapters: each is scored as a whole model', async () => {
  const scratch = await mkdtemp(join(tmpdir(), 'attune-soup-'));
  await using attune = await createAttune({
    backend: 'reference',
    plugins: [peft()],
    logger: silentLogger,
  });
  const base = join(fixtures, 'tiny-qwen2');
  const models = [
    base,
    ...['one', 'two'].map((name) => `${base}+${fixtures}/weighted-adapters/${name}`),
  ];
  const scored: string[] = [];
  const { models: kept, outputDir } = await greedySoup({
    models,
    attune,
    outputDir: join(scratch, 'soup'),
    workers: 0,
    evaluate: async (folder) => {
      const model = await AutoModelForCausalLM.fromPretrained(folder, { attune });
      scored.push(folder);
      model.dispose();
      return scored.length;
    },
  });
  expect(scored[0]).toBe(base);
  expect(scored.slice(1).every((folder) => folder.startsWith(scratch))).toBe(true);
  expect(scored).toHaveLength(5);
  expect(kept).toEqual(models.toReversed());
  expect(await readdir(scratch)).toEqual(['soup']);
  await AutoModelForCausalLM.fromPretrained(outputDir, { attune });
  await rm(scratch, { recursive: true });
});
