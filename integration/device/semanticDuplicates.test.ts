import { type Attune, createAttune, silentLogger } from '@attune/core';
import { Rng } from '@attune/core/util';
import { dedupe, type Embedder } from '@attune/data';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { onDawn } from './support.js';

const COUNT = 5000;
const THRESHOLD = 0.95;
/** Vectors have 24 bits a number; what is as near to the threshold may go or stay. */
const ROUNDING = 2e-6;

/** Unit vectors: of every three one is at the threshold to an earlier one, or a hair off it. */
function vectorsAtThreshold(dimension: number): Float64Array[] {
  const rng = new Rng(3);
  const unit = (vector: Float64Array) => {
    const length = Math.hypot(...vector);
    return vector.map((x) => x / length);
  };
  const random = () => unit(Float64Array.from({ length: dimension }, () => rng.normal()));
  const vectors: Float64Array[] = [];
  for (let i = 0; i < COUNT; i++) {
    const other = i % 3 === 2 ? vectors[Math.floor(rng.uniform() * i)] : undefined;
    if (!other) {
      vectors.push(random());
      continue;
    }
    const b = random();
    const along = cosine(other, b);
    const across = unit(b.map((x, d) => x - along * other[d]!));
    const off = [0, 1e-7, -1e-7, 1e-5, -1e-5, 1e-4, -1e-4, 0.02, 0.05][Math.floor(i / 3) % 9]!;
    const c = THRESHOLD + off;
    vectors.push(other.map((x, d) => c * x + Math.sqrt(1 - c * c) * across[d]!));
  }
  return vectors;
}

function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let d = 0; d < a.length; d++) sum += a[d]! * b[d]!;
  return sum;
}

async function duplicates(vectors: readonly Float64Array[], attune: Attune | null) {
  const embedder: Embedder = {
    name: 'table',
    fingerprint: () => 'table',
    embed: async (texts) => texts.map((text) => Float32Array.from(vectors[Number(text)]!)),
  };
  const rows = vectors.map((_, i) => ({ text: `${i}` }));
  const semantic = { embedder, threshold: THRESHOLD };
  const { dropped } = await dedupe(rows, { exact: false, semantic }, { attune });
  return new Map(
    dropped.map(({ row, detail }) => [
      row.origin.row,
      Number(/of rows\[(\d+)\]/.exec(detail!)![1]),
    ]),
  );
}

describe('rows of the same meaning', () => {
  let dawn: Attune;
  let reference: Attune;
  beforeAll(async () => {
    dawn = await onDawn();
    reference = await createAttune({ backend: 'reference', logger: silentLogger });
  });
  afterAll(async () => {
    await dawn?.dispose();
    await reference?.dispose();
  });

  test.each([3, 50, 128])('of %d numbers are those of float64, on each backend', async (size) => {
    const vectors = vectorsAtThreshold(size);
    const found = await duplicates(vectors, dawn);
    expect(found.size).toBeGreaterThan(COUNT / 6);
    // Each one that goes is like one that stays, the most similar of those before it.
    const stay: number[] = [];
    for (let i = 0; i < COUNT; i++) {
      let best = Number.NEGATIVE_INFINITY;
      for (const other of stay) best = Math.max(best, cosine(vectors[other]!, vectors[i]!));
      const of = found.get(i);
      if (of === undefined) {
        expect(best).toBeLessThan(THRESHOLD + ROUNDING);
        stay.push(i);
      } else {
        expect(stay).toContain(of);
        const similarity = cosine(vectors[of]!, vectors[i]!);
        expect(similarity).toBeGreaterThan(THRESHOLD - ROUNDING);
        expect(similarity).toBeGreaterThan(best - ROUNDING);
      }
    }
    expect(await duplicates(vectors, reference)).toEqual(found);
    expect(await duplicates(vectors, null)).toEqual(found);
    expect(dawn.engine.liveTensors).toBe(0);
  });
});
