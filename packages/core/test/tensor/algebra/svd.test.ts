import { Matrix, SingularValueDecomposition } from 'ml-matrix';
import { describe, expect, test } from 'vitest';
import {
  type Dense,
  frobeniusNorm,
  fromMatrix,
  product,
  toMatrix,
  transposed,
} from '../../../src/tensor/algebra/dense.js';
import { exactTruncatedSvd } from '../../../src/tensor/algebra/exactSvd.js';
import {
  type LowRank,
  orthonormalColumns,
  truncatedSvd,
  truncatedSvdOfProduct,
} from '../../../src/tensor/algebra/svd.js';
import { Rng } from '../../../src/util/rng.js';

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

const whole = ({ a, b }: LowRank): Matrix => toMatrix(b).mmul(toMatrix(a));

const difference = (found: LowRank, expected: Matrix): number =>
  Matrix.sub(whole(found), expected).norm() / expected.norm();

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
    expect(
      difference(exactTruncatedSvd(fromMatrix(matrix), rank), nearest(matrix, rank)),
    ).toBeLessThan(1e-7);
  });

  test('subspace iteration holds nearly as much, in other directions', () => {
    const matrix = random(264, 264);
    const [found, expected] = [truncatedSvd(fromMatrix(matrix), 8), nearest(matrix, 8)];
    const held = whole(found).norm() / expected.norm();
    expect(held).toBeGreaterThan(0.97);
    expect(held).toBeLessThan(1);
    expect(difference(found, expected)).toBeGreaterThan(0.1);
  });

  test('zeros', () => {
    expect(whole(exactTruncatedSvd(fromMatrix(new Matrix(264, 264)), 4)).norm()).toBe(0);
  });
});

describe('matrices on the host', () => {
  const [left, right] = [fromMatrix(random(7, 5)), fromMatrix(random(5, 3, 2))];

  test('products have the sums of the library, bit for bit', () => {
    expect(product(left, right)).toEqual(fromMatrix(toMatrix(left).mmul(toMatrix(right))));
    expect(transposed(left)).toEqual(fromMatrix(toMatrix(left).transpose()));
    expect(frobeniusNorm(left)).toBe(toMatrix(left).norm());
  });

  test('orthonormal columns span the same', () => {
    const q = orthonormalColumns(left);
    const unit: Dense = fromMatrix(Matrix.eye(5));
    const gram = product(transposed(q), q);
    gram.data.forEach((value, i) => {
      expect(value).toBeCloseTo(unit.data[i]!, 12);
    });
    const back = product(q, product(transposed(q), left));
    back.data.forEach((value, i) => {
      expect(value).toBeCloseTo(left.data[i]!, 12);
    });
  });

  test('a product is cut without its full size, as if it had been multiplied out', () => {
    const [tall, wide] = [fromMatrix(random(40, 6)), fromMatrix(random(6, 30, 2))];
    const direct = whole(truncatedSvd(product(tall, wide), 3));
    const fast = whole(truncatedSvdOfProduct(tall, wide, 3));
    expect(Matrix.sub(fast, direct).norm()).toBeLessThan(1e-10 * direct.norm());
  });

  test('large matrices of low rank come back exactly', () => {
    const low = random(300, 5, 3).mmul(random(5, 280, 4));
    expect(difference(truncatedSvd(fromMatrix(low), 5), low)).toBeLessThan(1e-8);
  });
});
