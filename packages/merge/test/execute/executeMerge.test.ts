import { readdir, readFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { WeightFolder } from '@attune/core/io';
import { describe, expect, test } from 'vitest';
import { executeMerge } from '../../src/execute/index.js';
import type { MergeProgress } from '../../src/options.js';
import {
  type FloatName,
  hashes,
  makeModel,
  mergedInMemory,
  optionsWith,
  planOf,
  shapes,
} from './support.js';

const weight = [0.3, 0.7, 1.5];
const models = (dtype?: FloatName) => Promise.all([1, 2, 3].map((seed) => makeModel(seed, dtype)));

describe('the bytes are those of a merge in memory that core writes', () => {
  test.each([
    ['float32', 'float32'],
    ['bfloat16', 'bfloat16'],
    ['float16', 'float16'],
    ['bfloat16', 'float32'],
    ['float32', 'float16'],
  ] as const)('%s to %s', async (from, dtype) => {
    const plan = await planOf(await models(from), 'linear', { weight }, { dtype });
    const options = await optionsWith({ verify: true });
    const outcome = await executeMerge(plan, options);
    expect(outcome).toMatchObject({ tensors: Object.keys(shapes).length, tensorsKept: 0 });
    expect(await hashes(options.outputDir)).toEqual({
      ...(await mergedInMemory(plan)),
      'config.json': expect.any(String),
      'generation_config.json': expect.any(String),
    });
    // Nothing is left beside it.
    expect(await readdir(dirname(options.outputDir))).toEqual([basename(options.outputDir)]);
  });

  test('in shards of 1 kB, with an index', async () => {
    const plan = await planOf(await models(), 'linear', { weight });
    const options = await optionsWith({ maxShardSize: '1kB', verify: true });
    await executeMerge(plan, options);
    const inMemory = await mergedInMemory(plan, '1kB');
    expect(Object.keys(inMemory).length).toBeGreaterThan(3);
    expect(await hashes(options.outputDir)).toMatchObject(inMemory);
    await using weights = await WeightFolder.open(options.outputDir);
    expect([...weights.names].sort()).toEqual(Object.keys(shapes).sort());
  });
});

test('config.json and the files of the plan are beside the weights', async () => {
  const plan = await planOf(await models(), 'linear', { weight });
  const copied = join([...plan.folders.values()][0]!, 'config.json');
  const files = [
    { name: 'chat_template.jinja', contents: '{{ x }}' },
    { name: 'additional_chat_templates/tool.jinja', contents: { copyOf: copied } },
  ];
  const options = await optionsWith();
  await executeMerge({ ...plan, files }, options);
  const text = (name: string) => readFile(join(options.outputDir, name), 'utf8');
  expect(JSON.parse(await text('config.json'))).toEqual(plan.outConfig);
  expect(await text('chat_template.jinja')).toBe('{{ x }}');
  expect(await text('additional_chat_templates/tool.jinja')).toBe(await readFile(copied, 'utf8'));
});

test('progress goes up to all of it, and is told in between on the calling thread', async () => {
  const told: MergeProgress[] = [];
  const plan = await planOf(await models(), 'linear', { weight });
  await executeMerge(plan, await optionsWith({ onProgress: (progress) => told.push(progress) }));
  const bytes = Object.values(shapes).reduce((n, s) => n + 4 * s.reduce((a, b) => a * b, 1), 0);
  const all = Object.keys(shapes).length;
  expect(told[0]).toMatchObject({ bytesTotal: bytes, tensorsTotal: all });
  expect(told.at(-1)).toMatchObject({ bytesDone: bytes, tensorsDone: all, secondsLeft: 0 });
  expect(told.every((p, i) => i === 0 || p.bytesDone >= told[i - 1]!.bytesDone)).toBe(true);
});
