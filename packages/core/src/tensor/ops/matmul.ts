import { AttuneError } from '../../util/errors.js';
import type { MatmulOptions } from '../matmulOptions.js';
import { defineOp } from '../op.js';
import { formatShape, numel, type Shape } from '../shape.js';
import type { Tensor } from '../tensor.js';

interface MatmulAttrs extends Record<string, boolean> {
  readonly transposeA: boolean;
  readonly transposeB: boolean;
}

/** Sizes of a product. `batch` matrices of a; b has as many, or one that serves them all. */
export function matmulSizes(a: Shape, b: Shape, attrs: MatmulAttrs) {
  const [aRows, aCols] = a.slice(-2) as [number, number];
  const [bRows, bCols] = b.slice(-2) as [number, number];
  return {
    m: attrs.transposeA ? aCols : aRows,
    k: attrs.transposeA ? aRows : aCols,
    kOther: attrs.transposeB ? bCols : bRows,
    n: attrs.transposeB ? bRows : bCols,
    batch: numel(a.slice(0, -2)),
    batchOther: numel(b.slice(0, -2)),
  };
}

export const matmulOp = defineOp<MatmulAttrs>({
  name: 'matmul',
  infer: ([a, b], attrs) => {
    const { m, k, kOther, n, batch, batchOther } = matmulSizes(a!.shape, b!.shape, attrs);
    if (
      a!.shape.length < 2 ||
      b!.shape.length < 2 ||
      k !== kOther ||
      (batchOther !== batch && batchOther !== 1)
    )
      throw new AttuneError(
        'SHAPE_MISMATCH',
        `matmul: ${formatShape(a!.shape)}${attrs.transposeA ? ' transposed' : ''} times ${formatShape(b!.shape)}${attrs.transposeB ? ' transposed' : ''} do not fit.`,
        {
          remedy: 'The inner sizes must agree; batch sizes must be equal, or b must be one matrix.',
        },
      );
    return [{ shape: [...a!.shape.slice(0, -2), m, n], dtype: 'float32' }];
  },
  flops: ([a, b], attrs) => {
    const { m, k, n, batch } = matmulSizes(a!.shape, b!.shape, attrs);
    return 2 * batch * m * n * k;
  },
  reference: ({ inputs: [a, b], outputs: [out], attrs }) => {
    const { m, k, n, batch, batchOther } = matmulSizes(a!.shape, b!.shape, attrs);
    const [aRow, aCol] = attrs.transposeA ? [1, m] : [k, 1];
    const [bRow, bCol] = attrs.transposeB ? [1, k] : [n, 1];
    for (let z = 0; z < batch; z++) {
      const aStart = z * m * k;
      const bStart = batchOther === 1 ? 0 : z * k * n;
      for (let i = 0; i < m; i++)
        for (let j = 0; j < n; j++) {
          let total = 0;
          for (let l = 0; l < k; l++)
            total +=
              a!.data[aStart + i * aRow + l * aCol]! * b!.data[bStart + l * bRow + j * bCol]!;
          out!.data[(z * m + i) * n + j] = total;
        }
    }
  },
  vjp: ({ inputs: [a, b], grads: [g], attrs, needs }) => {
    const { transposeA, transposeB } = attrs;
    const shared = numel(b!.shape.slice(0, -2)) < numel(a!.shape.slice(0, -2));
    // C = A B: dA = dC B^T, dB = A^T dC; for a transposed operand the roles swap.
    const dA = () => {
      if (!transposeA) return matmul(g!, b!, { transposeB: !transposeB });
      return shared // b serves as the right operand only
        ? matmul(g!, b!, { transposeB: !transposeB }).transpose()
        : matmul(b!, g!, { transposeA: transposeB, transposeB: true }).reshape(...a!.shape);
    };
    const dB = () => {
      // One b for the whole batch: its gradient sums over the batch, which is one tall product.
      const left = shared && !transposeA ? a!.reshape(-1, a!.shape.at(-1)!) : a!;
      const right = shared && !transposeA ? g!.reshape(-1, g!.shape.at(-1)!) : g!;
      const product = transposeB
        ? matmul(right, left, { transposeA: true, transposeB: transposeA })
        : matmul(left, right, { transposeA: !transposeA });
      const summed =
        product.rank > 2 && shared
          ? product.sum(product.shape.slice(0, -2).map((_, i) => i))
          : product;
      return summed.reshape(...b!.shape);
    };
    return [needs[0] ? dA() : null, needs[1] ? dB() : null];
  },
});

/** [..., M, K] x [..., K, N] -> [..., M, N], float32 accumulation. A two-dimensional b serves every batch. */
export function matmul(a: Tensor, b: Tensor, options: MatmulOptions = {}): Tensor {
  const attrs = {
    transposeA: options.transposeA ?? false,
    transposeB: options.transposeB ?? false,
  };
  // A batch against one matrix is one tall product.
  if (b.rank === 2 && a.rank > 2 && !attrs.transposeA) {
    const flat = a.reshape(-1, a.shape.at(-1)!);
    const out = a.engine.run(matmulOp, [flat, b], attrs)[0]!;
    return out.reshape(...a.shape.slice(0, -1), out.shape.at(-1)!);
  }
  return a.engine.run(matmulOp, [a, b], attrs)[0]!;
}

/** y = x W^T (+ b): x [..., in], weight [out, in], bias [out] -> [..., out]. */
export function linear(x: Tensor, weight: Tensor, bias?: Tensor | null): Tensor {
  const flat = x.reshape(-1, x.shape.at(-1)!);
  const y = flat.matmul(weight, { transposeB: true });
  const out = bias ? y.add(bias) : y;
  return out.reshape(...x.shape.slice(0, -1), weight.shape[0]!);
}
