import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { type Attune, AutoModelForCausalLM, createAttune, silentLogger } from '@attune/core';
import { Rng } from '@attune/core/util';
import { dedupe, type Embedder, modelEmbedder } from '@attune/data';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { HyperplaneIndex } from '../../src/dedup/hyperplaneIndex.js';
import { Nearest, searchBlock, VectorBlocks } from '../../src/dedup/vectorBlocks.js';
import { MemoryCache } from '../../src/pipeline/memoryCache.js';
import { bytes, tinyConfig } from '../selection/support.js';

/** Vectors that a table says; every text that was asked for. */
function tableEmbedder(vectors: Readonly<Record<string, readonly number[]>>) {
  const asked: string[] = [];
  const embedder: Embedder = {
    name: 'table',
    fingerprint: () => 'table',
    embed: async (texts) => {
      asked.push(...texts);
      return texts.map((text) => Float32Array.from(vectors[text] ?? [0, 0, 1]));
    },
  };
  return { embedder, asked };
}

const rowsOf = (...texts: string[]) => texts.map((text) => ({ text }));

describe('rows that mean the same', () => {
  const vectors = { cat: [1, 0, 0], kitten: [3, 0.3, 0], dog: [0, 1, 0], puppy: [0.5, 1, 0] };

  test('go from the threshold on, and the closest one is named', async () => {
    const { embedder } = tableEmbedder(vectors);
    const rows = rowsOf('cat', 'dog', 'kitten', 'puppy', 'CAT');
    const { rows: kept, dropped, report } = await dedupe(rows, { semantic: { embedder } });
    expect(kept.map(({ text }) => text)).toEqual(['cat', 'dog', 'puppy']);
    // Equal texts go before vectors are asked for, and in the batch that is being read.
    expect(dropped.map(({ reason, detail }) => [reason, detail])).toEqual([
      ['duplicate', 'of rows[0]'],
      ['semantic-duplicate', 'of rows[0], cosine 1.00'],
    ]);
    expect(report.facts.duplicates).toMatchObject({ exact: 1, semantic: 1 });
    expect(report.facts.clusters).toMatchObject({ count: 1, sizes: { '3-4': 1 } });
    const wider = await dedupe(rows, { semantic: { embedder, threshold: 0.85 } });
    expect(wider.rows).toHaveLength(2);
  });

  test('where most rows mean the same, the embedder is asked into question', async () => {
    const { embedder } = tableEmbedder({ other: [1, 0, 0] });
    const alike = rowsOf(...Array.from({ length: 30 }, (_, i) => `text ${i}`));
    const { report } = await dedupe([...alike, { text: 'other' }], { semantic: { embedder } });
    expect(report.warnings).toEqual([
      expect.stringMatching(/^29 of 31 rows mean the same as another, says "table" at .* 0.95\./),
    ]);
    const few = await dedupe(rowsOf('a', 'b', 'c'), { semantic: { embedder } });
    expect(few.report.warnings).toEqual([]);
  });

  test('rows without text, and vectors of zeros, are like no other', async () => {
    const { embedder } = tableEmbedder({ a: [0, 0], b: [0, 0], c: [1, 0] });
    const { rows } = await dedupe(rowsOf('a', '', 'b', '', 'c'), { semantic: { embedder } });
    expect(rows).toHaveLength(5);
  });

  test('splits, other sets and the row that stays hold for them too', async () => {
    const { embedder } = tableEmbedder(vectors);
    const at = (text: string, split: 'train' | 'test', row: number) => ({
      row: { text },
      origin: { file: 'a', row },
      split,
    });
    const { rows, dropped } = await dedupe([at('cat', 'train', 0), at('kitten', 'test', 1)], {
      semantic: { embedder },
    });
    expect(rows).toEqual([{ text: 'kitten' }]);
    expect(dropped[0]!.detail).toBe('of a[1], cosine 1.00');
    const against = await dedupe(rowsOf('kitten', 'dog'), {
      semantic: { embedder },
      against: rowsOf('cat'),
    });
    expect(against.rows).toEqual([{ text: 'dog' }]);
    const longest = await dedupe(rowsOf('cat', 'kitten'), {
      semantic: { embedder },
      keep: 'longest',
    });
    expect(longest.rows).toEqual([{ text: 'kitten' }]);
  });

  test('vectors are kept: a second run asks for none', async () => {
    const cache = new MemoryCache();
    const { embedder, asked } = tableEmbedder(vectors);
    const first = await dedupe(
      rowsOf('cat', 'dog', 'kitten'),
      { semantic: { embedder } },
      { cache },
    );
    expect(asked).toEqual(['cat', 'dog', 'kitten']);
    const again = await dedupe(
      rowsOf('puppy', 'cat', 'dog', 'kitten'),
      { semantic: { embedder } },
      { cache },
    );
    expect(asked.slice(3)).toEqual(['puppy']);
    expect(again.rows.slice(1)).toEqual(first.rows);
  });

  test('an embedder whose vectors change their length is an error', async () => {
    const { embedder } = tableEmbedder({ a: [1, 0], b: [1, 0, 0] });
    await expect(dedupe(rowsOf('a', 'b'), { semantic: { embedder } })).rejects.toThrow(
      /"table" gave a vector of 3 numbers after one of 2/,
    );
  });
});

/** `count` vectors of so many numbers, each at the cosine 0.93 to 0.99 to one of the others. */
function clustered(count: number, dimension: number): Float32Array {
  const rng = new Rng(5);
  const data = new Float32Array(count * dimension);
  const unit = () => {
    const vector = Array.from({ length: dimension }, () => rng.normal());
    const length = Math.hypot(...vector);
    return vector.map((x) => x / length);
  };
  for (let i = 0; i < count; i += 2) {
    const a = unit();
    const b = unit();
    const cosine = 0.93 + 0.06 * rng.uniform();
    const along = a.reduce((sum, x, d) => sum + x * b[d]!, 0);
    const across = b.map((x, d) => x - along * a[d]!);
    const scale = Math.sqrt(1 - cosine * cosine) / Math.hypot(...across);
    data.set(a, i * dimension);
    data.set(
      a.map((x, d) => cosine * x + scale * across[d]!),
      (i + 1) * dimension,
    );
  }
  return data;
}

describe('the search', () => {
  const count = 3000;
  const dimension = 48;
  const data = clustered(count, dimension);
  const vectors = new VectorBlocks(dimension);
  for (let i = 0; i < count; i++) vectors.add(data.subarray(i * dimension, (i + 1) * dimension));

  test('by blocks finds what a comparison of each with each finds', () => {
    const queries = data.subarray(0, 7 * dimension);
    const others = new VectorBlocks(dimension);
    for (let i = 7; i < count; i++) others.add(data.subarray(i * dimension, (i + 1) * dimension));
    const nearest = new Nearest(7);
    others.blocks.forEach((_, block) => {
      searchBlock(others, block, queries, nearest);
    });
    for (let i = 0; i < 7; i++) {
      let best = -1;
      for (let j = 0; j < others.count; j++)
        best = Math.max(best, others.cosine(j, queries, i * dimension));
      expect(nearest.cosine[i]).toBeCloseTo(best, 12);
      expect(others.cosine(nearest.at[i]!, queries, i * dimension)).toBeCloseTo(best, 12);
    }
    expect(nearest.at[6]).toBe(0);
  });

  test('by hyperplanes finds 99 % of the pairs at the threshold', () => {
    const evens = new VectorBlocks(dimension);
    const index = new HyperplaneIndex(evens, 0.95, 0);
    let found = 0;
    let all = 0;
    for (let i = 0; i < count; i += 2) {
      evens.add(data.subarray(i * dimension, (i + 1) * dimension));
      index.add(data, i * dimension);
    }
    for (let i = 1; i < count; i += 2) {
      if (vectors.cosine(i - 1, data, i * dimension) < 0.95) continue;
      const nearest = new Nearest(1);
      index.search(data, i * dimension, 0, nearest);
      all++;
      if (nearest.at[0] === (i - 1) / 2) found++;
    }
    expect(all).toBeGreaterThan(900);
    expect(found).toBeGreaterThan(0.99 * all);
  });
});

test('vectors that all point one way are kept apart by hyperplanes through their mean', () => {
  const [count, dimension] = [12_000, 32];
  const rng = new Rng(2);
  const toward = (center: ArrayLike<number>, cosine: number) => {
    const other = Float32Array.from({ length: dimension }, () => rng.normal());
    const along = other.reduce((sum, x, d) => sum + x * center[d]!, 0);
    const across = other.map((x, d) => x - along * center[d]!);
    const scale = Math.sqrt(1 - cosine * cosine) / Math.hypot(...across);
    return across.map((x, d) => scale * x + cosine * center[d]!);
  };
  const center = Float32Array.from({ length: dimension }, (_, d) => (d === 0 ? 1 : 0));
  const vectors = new VectorBlocks(dimension);
  // Two of them have a cosine of 0.9.
  for (let i = 0; i < count; i++) vectors.add(toward(center, Math.sqrt(0.9)));
  const index = new HyperplaneIndex(vectors, 0.97, 0);
  for (let i = 0; i < count; i++) index.add(vectors.at(i), 0);
  let found = 0;
  for (let i = 0; i < 200; i++) {
    const nearest = new Nearest(1);
    index.search(toward(vectors.at(i), 0.971), 0, 0, nearest);
    if (nearest.cosine[0]! >= 0.97) found++;
  }
  expect(found).toBeGreaterThanOrEqual(198);
  expect(index.crowded).toBe(0);
});

describe('with a model', () => {
  let attune: Attune;
  beforeAll(async () => {
    attune = await createAttune({ backend: 'reference', logger: silentLogger });
  });
  afterAll(() => attune.dispose());

  test('the product on the device gives what the processor gives', async () => {
    const rng = new Rng(7);
    const table = new Map<string, Float32Array>();
    const rows = Array.from({ length: 2600 }, (_, i) => {
      const near = i > 2300 ? table.get(`row ${i - 2300}`) : null;
      const vector = Float32Array.from({ length: 8 }, (_, d) =>
        near ? near[d]! + 0.12 * rng.normal() : rng.normal(),
      );
      table.set(`row ${i}`, vector);
      return { text: `row ${i}` };
    });
    const embedder: Embedder = {
      name: 'table',
      fingerprint: () => 1,
      embed: async (texts) => texts.map((text) => table.get(text)!),
    };
    const options = { exact: false, semantic: { embedder, threshold: 0.98 } };
    const live = attune.engine.liveTensors;
    const device = await dedupe(rows, options, { attune });
    expect(attune.engine.liveTensors).toBe(live);
    const host = await dedupe(rows, options);
    expect(host.dropped.length).toBeGreaterThan(150);
    expect(device.dropped).toEqual(host.dropped);
  });

  test('an embedder may be a model', async () => {
    const model = await AutoModelForCausalLM.fromConfig(tinyConfig, { attune });
    const embedder = modelEmbedder({ model, tokenizer: bytes });
    const { rows } = await dedupe(rowsOf('the cat', 'the cat!', 'dogs bark'), {
      semantic: { embedder, threshold: 0.9999 },
    });
    expect(rows).toHaveLength(3);
  });

  const stories = resolve(import.meta.dirname, '../../../../../shared/models/stories260k');
  const hasStories = existsSync(stories);
  test.skipIf(!hasStories)(
    `so may a loaded model, or its folder${hasStories ? '' : ` (skipped: no ${stories})`}`,
    async () => {
      const model = await AutoModelForCausalLM.fromPretrained(stories, { attune });
      const rows = rowsOf('Once upon a time there was a cat.', 'Lily likes a red ball.');
      const of = async (embedder: typeof model | string) =>
        (await dedupe([...rows, ...rows], { exact: false, semantic: { embedder } }, { attune }))
          .dropped;
      const dropped = await of(model);
      expect(dropped.map(({ detail }) => detail)).toEqual([
        'of rows[0], cosine 1.00',
        'of rows[1], cosine 1.00',
      ]);
      expect(await of(stories)).toEqual(dropped);
    },
  );
});
