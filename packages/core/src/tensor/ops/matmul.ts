import type { ComputeDType } from '../../backend/dtype.js';
import type { AttrValue } from '../../backend/opCall.js';
import { AttuneError } from '../../util/errors.js';
import type { Engine } from '../engine.js';
import type { MatmulOptions } from '../matmulOptions.js';
import { defineOp } from '../op.js';
import { referenceProduct } from '../referenceProduct.js';
import { formatShape, numel, requireFit, type Shape, sameShape } from '../shape.js';
import type { Tensor } from '../tensor.js';

export interface MatmulAttrs extends Record<string, AttrValue> {
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  readonly scale: number;
  /** The output is updated: out += scale a b. For `runInto` alone. */
  readonly accumulate: boolean;
  /** What a and b are rounded to while they are loaded; sums stay float32. */
  readonly compute: ComputeDType;
}

/** Sizes of a product. `batch` matrices of a; b has as many, or one that serves them all. */
export function matmulSizes(
  a: Shape,
  b: Shape,
  attrs: Readonly<Record<'transposeA' | 'transposeB', boolean>>,
) {
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

const batchOf = (shape: Shape): Shape => shape.slice(0, -2);
const allButLast = (x: Tensor) => x.shape.slice(0, -1).map((_, i) => i);

/**
 * scale * a b (+ addend). Inputs: a, b, optionally an addend of the output's shape, or a bias [N].
 */
export const matmulOp = defineOp<MatmulAttrs>({
  name: 'matmul',
  infer: (specs, attrs) => {
    const [a, b, addend] = specs;
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
    const shape = [...a!.shape.slice(0, -2), m, n];
    const added = !addend || sameShape(addend.shape, shape) || sameShape(addend.shape, [n]);
    requireFit(added, 'matmul', specs, 'An addend has the shape of the product; a bias, [N]');
    return [{ shape, dtype: 'float32' }];
  },
  flops: ([a, b], attrs) => {
    const { m, k, n, batch } = matmulSizes(a!.shape, b!.shape, attrs);
    return 2 * batch * m * n * k;
  },
  reference: ({ inputs: [a, b, addend], outputs: [out], attrs }) => {
    const sizes = matmulSizes(a!.shape, b!.shape, attrs);
    const totals = referenceProduct(a!.data, b!.data, { ...sizes, ...attrs });
    const y = out!.data;
    const { scale } = attrs;
    const added = attrs.accumulate ? y : addend?.data;
    const isBias = !attrs.accumulate && addend?.shape.length === 1;
    if (!added) for (let i = 0; i < totals.length; i++) y[i] = scale * totals[i]! + 0;
    else if (!isBias) for (let i = 0; i < totals.length; i++) y[i] = scale * totals[i]! + added[i]!;
    else
      for (let row = 0; row < totals.length; row += sizes.n)
        for (let j = 0; j < sizes.n; j++) y[row + j] = scale * totals[row + j]! + added[j]!;
  },
  vjp: ({ inputs: [a, b, addend], grads: [g], attrs, needs, into }) => {
    const { transposeA, transposeB, scale, compute } = attrs;
    const shared =
      b!.rank === 2 ? a!.rank > 2 : numel(batchOf(b!.shape)) < numel(batchOf(a!.shape));
    /** A product of the gradient's own shape may be written where the gradient belongs. */
    const gradient = (
      at: 0 | 1,
      x: Tensor,
      y: Tensor,
      transposeA: boolean,
      transposeB: boolean,
    ) => {
      const place = into[at];
      if (!place || !sameShape(batchOf(x.shape), batchOf(place.tensor.shape)))
        return matmul(x, y, { transposeA, transposeB, scale, compute });
      const { tensor, accumulate } = place;
      const attrs = { transposeA, transposeB, scale, accumulate, compute };
      x.engine.runInto(matmulOp, [x, y], [tensor], attrs);
      return tensor;
    };
    // C = A B: dA = dC B^T, dB = A^T dC; for a transposed operand the roles swap.
    const dA = () => {
      if (!transposeA) return gradient(0, g!, b!, false, !transposeB);
      return shared // b serves as the right operand only
        ? matmul(g!, b!, { transposeB: !transposeB, scale, compute }).transpose()
        : matmul(b!, g!, { transposeA: transposeB, transposeB: true, scale, compute }).reshape(
            ...a!.shape,
          );
    };
    const dB = () => {
      // One b for the whole batch: its gradient sums over the batch, which is one tall product.
      const left = shared && !transposeA ? a!.reshape(-1, a!.shape.at(-1)!) : a!;
      const right = shared && !transposeA ? g!.reshape(-1, g!.shape.at(-1)!) : g!;
      const product = transposeB
        ? gradient(1, right, left, true, transposeA)
        : gradient(1, left, right, !transposeA, false);
      const summed =
        product.rank > 2 && shared ? product.sum(batchOf(product.shape).map((_, i) => i)) : product;
      return sameShape(summed.shape, b!.shape) ? summed : summed.reshape(...b!.shape);
    };
    const dAddend = () => (sameShape(addend!.shape, g!.shape) ? g! : g!.sum(allButLast(g!)));
    return [
      needs[0] ? dA() : null,
      needs[1] ? dB() : null,
      ...(addend ? [needs[2] ? dAddend() : null] : []),
    ];
  },
  saves: { inputs: [0, 1] },
});

/**
 * scale * a b + addend: [..., M, K] x [..., K, N] -> [..., M, N], float32 accumulation. A
 * two-dimensional b serves every batch; an addend [N] is a bias. The gradients are computed in what
 * the product was computed in.
 */
export function matmul(a: Tensor, b: Tensor, options: MatmulOptions = {}): Tensor {
  const { addend } = options;
  const attrs = attrsOf(a.engine, options);
  return a.engine.run(matmulOp, addend ? [a, b, addend] : [a, b], attrs)[0]!;
}

function attrsOf(engine: Engine, options: MatmulOptions): MatmulAttrs {
  const { transposeA = false, transposeB = false, scale = 1 } = options;
  const { compute = engine.computeDType } = options;
  return { transposeA, transposeB, scale, accumulate: false, compute };
}

/** y = x W^T (+ b): x [..., in], weight [out, in], bias [out] -> [..., out]. */
export function linear(x: Tensor, weight: Tensor, bias?: Tensor | null): Tensor {
  const rows = x.rank === 1 ? x.reshape(1, -1) : x;
  const attrs = attrsOf(x.engine, { transposeB: true });
  const y = x.engine.run(matmulOp, bias ? [rows, weight, bias] : [rows, weight], attrs)[0]!;
  return x.rank === 1 ? y.reshape(-1) : y;
}
