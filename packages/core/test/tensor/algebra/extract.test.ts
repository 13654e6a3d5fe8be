import { describe, expect, it } from 'vitest';
import { algebra } from '../../../src/entries/tensor.js';
import { Rng } from '../../../src/util/rng.js';

/** diag(singular) with zeros around it, in the axes of the matrix or turned by random ones. */
function matrixOf(rows: number, columns: number, singular: readonly number[]): algebra.OwnDense {
  const rng = new Rng(5, rows * columns);
  const axes = (size: number) =>
    algebra.orthonormalColumns({
      rows: size,
      columns: singular.length,
      data: Float64Array.from({ length: size * singular.length }, () => rng.normal()),
    });
  const left = axes(rows);
  const scaled = left.data.map((value, i) => value * singular[i % singular.length]!);
  return algebra.product({ ...left, data: scaled }, algebra.transposed(axes(columns)));
}

const largest = (a: Float64Array, b: Float64Array): number =>
  a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0);

const lengths = ({ rows, columns, data }: algebra.OwnDense, byRow: boolean) =>
  Array.from({ length: byRow ? rows : columns }, (_, k) => {
    let sum = 0;
    for (let i = 0; i < data.length; i++)
      if ((byRow ? Math.floor(i / columns) : i % columns) === k) sum += data[i]! ** 2;
    return Math.sqrt(sum);
  });

describe('extractFactors', () => {
  it.each([
    [7, 13],
    [13, 7],
    [300, 280],
  ])('of [%i, %i]: the leading directions, their size shared by both factors', (rows, columns) => {
    const matrix = matrixOf(rows, columns, [4, 3, 1]);
    const { a, b, energy, norm } = algebra.extractFactors(matrix, { rank: 2 });
    expect([a.rows, a.columns, b.rows, b.columns]).toEqual([2, columns, rows, 2]);
    expect(norm).toBeCloseTo(Math.sqrt(26), 10);
    expect(energy).toBeCloseTo(25 / 26, 10);
    for (const [i, length] of lengths(a, true).entries())
      expect(length).toBeCloseTo(Math.sqrt([4, 3][i]!), 8);
    for (const [i, length] of lengths(b, false).entries())
      expect(length).toBeCloseTo(Math.sqrt([4, 3][i]!), 8);
    expect(algebra.frobeniusNorm(algebra.product(b, a))).toBeCloseTo(5, 8);
    const all = algebra.extractFactors(matrix, { rank: 3 });
    expect(largest(algebra.product(all.b, all.a).data, matrix.data)).toBeLessThan(1e-9);
  });

  // 16 + 9 + 1 = 26
  it.each([
    [0.6, 1],
    [16 / 26, 1],
    [0.62, 2],
    [25 / 26, 2],
    [0.97, 3],
    [1, 3],
  ])('energy %f needs rank %i', (energy, rank) => {
    const matrix = matrixOf(40, 30, [4, 3, 1]);
    const found = algebra.extractFactors(matrix, { energy, maxRank: 30 });
    expect(found.a.rows).toBe(rank);
    expect(found.energy).toBeGreaterThanOrEqual(energy - 1e-12);
  });

  it('finds a rank beyond its first look, and stops at maxRank and at the smaller side', () => {
    const matrix = matrixOf(60, 50, new Array(40).fill(1));
    const rankOf = (maxRank: number, of = matrix) =>
      algebra.extractFactors(of, { energy: 0.9, maxRank }).a.rows;
    expect(rankOf(128)).toBe(36);
    expect(rankOf(20)).toBe(20);
    expect(rankOf(128, matrixOf(3, 90, [1, 1, 1]))).toBe(3);
    expect(algebra.extractFactors(matrix, { rank: 200 }).a.rows).toBe(50);
  });

  it('nothing has factors of zeros', () => {
    const nothing = { rows: 300, columns: 290, data: new Float64Array(300 * 290) };
    for (const choice of [{ rank: 2 }, { energy: 0.9, maxRank: 4 }]) {
      const { a, b, energy, norm } = algebra.extractFactors(nothing, choice);
      expect([energy, norm]).toEqual([1, 0]);
      expect([...a.data, ...b.data].every((value) => value === 0)).toBe(true);
    }
  });

  it('reads float32 as float64', () => {
    const matrix = matrixOf(300, 1100, [4, 3, 1]);
    const single = { ...matrix, data: Float32Array.from(matrix.data) };
    const { a, b } = algebra.extractFactors(single, { rank: 3 });
    expect(largest(algebra.product(b, a).data, matrix.data)).toBeLessThan(1e-6);
  });
});
