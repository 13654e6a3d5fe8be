import { truncateSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SafetensorsFile } from '@attune/core/io';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type GreedySoupOptions, greedySoup, type SoupStep } from '../src/greedySoup.js';
import { writeTiny } from './tinyModels.js';

let scratch: string;
const at = (...names: string[]) => join(scratch, ...names);
const inputs = ['a', 'b', 'far'];
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'attune-soup-'));
  for (const [seed, name] of inputs.entries()) await writeTiny(at(name), 'llama', { seed });
});
afterEach(() => rm(at('soup'), { recursive: true, force: true }));
afterAll(() => rm(scratch, { recursive: true }));

/** A tensor of a model. */
async function weight(folder: string): Promise<Float32Array> {
  await using file = await SafetensorsFile.open(join(folder, 'model.safetensors'));
  return (await file.read('model.norm.weight')).data as Float32Array;
}

/** How far a model is from the middle of a and b. */
async function distance(folder: string): Promise<number> {
  const [a, b, found] = [await weight(at('a')), await weight(at('b')), await weight(folder)];
  return Math.hypot(...found.map((value, i) => value - (a[i]! + b[i]!) / 2));
}

const soup = (changes: Partial<GreedySoupOptions> = {}) =>
  greedySoup({
    models: ['far', 'a', 'b'].map((name) => at(name)),
    evaluate: async (folder) => -(await distance(folder)),
    outputDir: at('soup'),
    workers: 0,
    ...changes,
  });

test('adds what does not make the mean worse, the best first, and writes the mean', async () => {
  const told: SoupStep[] = [];
  const { outputDir, score, models, steps } = await soup({ onStep: (step) => told.push(step) });
  expect(models.toSorted()).toEqual([at('a'), at('b')]);
  expect(score).toBeGreaterThan(-1e-6);
  expect(steps.map(({ isKept }) => isKept)).toEqual([true, true, false]);
  expect(steps[2]).toMatchObject({ model: at('far') });
  expect(steps[2]!.soupScore).toBeLessThan(score);
  expect(told).toEqual(steps);
  const [a, b, merged] = [await weight(at('a')), await weight(at('b')), await weight(outputDir)];
  for (const [i, value] of merged.entries()) expect(value).toBeCloseTo((a[i]! + b[i]!) / 2, 6);
  expect((await readdir(scratch)).sort()).toEqual(['a', 'b', 'far', 'soup']);
});

test('lowerIsBetter: the same with a loss', async () => {
  const { models, score } = await soup({ lowerIsBetter: true, evaluate: distance });
  expect(models.toSorted()).toEqual([at('a'), at('b')]);
  expect(score).toBeLessThan(1e-6);
});

test('a score that stays the same is no fall; models keep their order', async () => {
  const { models, steps } = await soup({ evaluate: () => 1 });
  expect(models).toEqual(['far', 'a', 'b'].map((name) => at(name)));
  expect(steps.every(({ isKept }) => isKept)).toBe(true);
});

test('where every mean is worse, the best model alone', async () => {
  const evaluate = (folder: string) => (folder === at('b') ? 3 : folder === at('a') ? 2 : 1);
  const { models, outputDir, score } = await soup({ evaluate });
  expect(models).toEqual([at('b')]);
  expect(score).toBe(3);
  expect(await weight(outputDir)).toEqual(await weight(at('b')));
});

describe('nothing is left behind by', () => {
  afterEach(async () => expect((await readdir(scratch)).sort()).toEqual(['a', 'b', 'far']));

  test('an evaluation that throws', async () => {
    let calls = 0;
    const evaluate = () => {
      if (++calls === 5) throw new Error('out of memory');
      return 1;
    };
    await expect(soup({ evaluate })).rejects.toThrow('out of memory');
  });
  test('a score that is no number', async () => {
    await expect(soup({ evaluate: () => Number.NaN })).rejects.toThrow('evaluate gave NaN for');
  });
  test('a last merge that writes nothing', async () => {
    let calls = 0;
    const onStep = () => {
      // The models are gone when the last merge begins.
      if (++calls === 2) for (const name of ['a', 'b']) truncateSync(at(name, 'model.safetensors'));
    };
    const kept = await Promise.all(
      ['a', 'b'].map((name) => readFile(at(name, 'model.safetensors'))),
    );
    await expect(
      soup({ models: ['a', 'b'].map((name) => at(name)), evaluate: () => 1, onStep }),
    ).rejects.toThrow('MERGE_INVALID');
    for (const [i, name] of ['a', 'b'].entries())
      await writeFile(at(name, 'model.safetensors'), kept[i]!);
  });
  test('a signal', async () => {
    const controller = new AbortController();
    const evaluate = () => {
      controller.abort();
      return 1;
    };
    await expect(soup({ evaluate, signal: controller.signal })).rejects.toThrow();
  });
});

test('a config has no method and no models', async () => {
  for (const config of [{ mergeMethod: 'slerp' }, { models: [] }, 3] as never[])
    await expect(soup({ config })).rejects.toThrow(
      'expected an object with dtype, outDtype, tokenizer, tokenizerSource, chatTemplate alone',
    );
});

test('models that do not go together are known before any is scored', async () => {
  await writeTiny(at('wide'), 'llama', { hidden: 32 });
  let calls = 0;
  const evaluate = () => ++calls;
  await expect(soup({ models: ['a', 'wide'].map((name) => at(name)), evaluate })).rejects.toThrow(
    'MERGE_INVALID',
  );
  expect(calls).toBe(0);
  await rm(at('wide'), { recursive: true });
});

test('a folder that is there is refused before any is scored, or replaced in the end', async () => {
  await writeTiny(at('soup'), 'llama', { seed: 9 });
  let calls = 0;
  const evaluate = () => ++calls;
  await expect(soup({ evaluate })).rejects.toThrow('is there already');
  await expect(soup({ evaluate, outputDir: at('a') })).rejects.toThrow('is an input of the merge');
  expect(calls).toBe(0);
  await soup({ evaluate: () => 1, models: [at('a')], overwrite: true });
  expect(await weight(at('soup'))).toEqual(await weight(at('a')));
});
