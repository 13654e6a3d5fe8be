import { Rng } from '@attune/core';
import { Matrix, SingularValueDecomposition } from 'ml-matrix';
import { describe, expect, test } from 'vitest';
import { type LowRank, toMatrix, truncate } from '../../src/algebra/lowRank.js';
import { nearestExactly } from '../../src/algebra/nearestExactly.js';

/** Random numbers: singular values as close together as they get. */
function random(rows: number, columns: number, seed = 1): Matrix {
  const rng = new Rng(seed, 0);
  const values = Array.from({ length: rows * columns }, () => 0.04 * rng.normal());
  return Matrix.from1DArray(rows, columns, values);
}

/** U_r S_r V_r^T by the whole decomposition. */
function nearest(matrix: Matrix, rank: number): Matrix {
  const svd = new SingularValueDecomposition(matrix, { autoTranspose: true });
  const first = (m: Matrix) => m.subMatrix(0, m.rows - 1, 0, rank - 1);
  return first(svd.leftSingularVectors)
    .mulRowVector(svd.diagonal.slice(0, rank))
    .mmul(first(svd.rightSingularVectors).transpose());
}

const product = ({ a, b }: LowRank): Matrix => toMatrix(b).mmul(toMatrix(a));

const difference = (found: LowRank, expected: Matrix): number =>
  Matrix.sub(product(found), expected).norm() / expected.norm();

describe('the nearest matrix of a rank, of more than 256 rows and columns', () => {
  test.each([
    ['square', random(264, 264), 8],
    ['wide', random(260, 330), 4],
    ['tall', random(330, 260, 3), 16],
    ['of rank 1', random(264, 1).mmul(random(1, 270)), 1],
    ['of a lower rank than is asked for', random(264, 3).mmul(random(3, 270)), 3],
    ['of a rank within the probe', random(264, 12).mmul(random(12, 270)), 5],
    [
      'of few directions and noise',
      random(264, 6)
        .mmul(random(6, 264))
        .add(random(264, 264, 9).mul(1e-3)),
      6,
    ],
    ['of singular values that come twice', random(132, 132).kroneckerProduct(Matrix.eye(2)), 4],
  ])('%s', (_, matrix, rank) => {
    expect(difference(nearestExactly(matrix, rank), nearest(matrix, rank))).toBeLessThan(1e-7);
  });

  test('subspace iteration holds nearly as much, in other directions', () => {
    const matrix = random(264, 264);
    const [found, expected] = [truncate(matrix, 8), nearest(matrix, 8)];
    const held = product(found).norm() / expected.norm();
    expect(held).toBeGreaterThan(0.97);
    expect(held).toBeLessThan(1);
    expect(difference(found, expected)).toBeGreaterThan(0.1);
  });

  test('zeros', () => {
    expect(product(nearestExactly(new Matrix(264, 264), 4)).norm()).toBe(0);
  });
});
