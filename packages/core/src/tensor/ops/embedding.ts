import { isFloat } from '../../backend/dtype.js';
import type { AttrValue } from '../../backend/opCall.js';
import { defineOp } from '../op.js';
import { numel, requireFit } from '../shape.js';
import type { Tensor } from '../tensor.js';
import { affine, equal } from './elementwise.js';

export interface EmbeddingAttrs extends Record<string, AttrValue> {
  /**
   * The row of the weight that looking up gives no gradient; {@link NO_PADDING}: all rows get
   * theirs.
   */
  readonly paddingIdx: number;
}

/** No row: ids are 0 or more. */
export const NO_PADDING = -1;

export const embeddingOp = defineOp<EmbeddingAttrs>({
  name: 'embedding',
  infer: (inputs) => {
    const [weight, ids] = inputs;
    const fits = weight!.shape.length === 2 && !isFloat(ids!.dtype);
    requireFit(fits, 'embedding', inputs, 'Give weight [V, D] and int32 ids');
    return [{ shape: [...ids!.shape, weight!.shape[1]!], dtype: 'float32' }];
  },
  reference: ({ inputs: [weight, ids], outputs: [out] }) => {
    const width = weight!.shape[1]!;
    ids!.data.forEach((id, i) => {
      out!.data.set(weight!.data.subarray(id * width, (id + 1) * width), i * width);
    });
  },
  vjp: ({ inputs: [weight, ids], grads: [g], attrs: { paddingIdx }, needs, engine }) => {
    const rows = weight!.shape[0]!;
    return [
      needs[0] ? engine.run(embeddingGradOp, [ids!, g!], { rows, paddingIdx })[0]! : null,
      null,
    ];
  },
  saves: { inputs: [1] },
});

/**
 * out[v] = sum of g over the positions whose id is v, 0 for v = paddingIdx. Inputs: ids [...], g
 * [..., D]; out [rows, D].
 */
export const embeddingGradOp = defineOp<EmbeddingAttrs & { readonly rows: number }>({
  name: 'embeddingGrad',
  infer: ([, g], { rows }) => [{ shape: [rows, g!.shape.at(-1)!], dtype: 'float32' }],
  reference: ({ inputs: [ids, g], outputs: [out], attrs: { paddingIdx } }) => {
    const width = g!.shape.at(-1)!;
    out!.data.fill(0);
    for (let i = 0; i < numel(ids!.shape); i++) {
      if (ids!.data[i] === paddingIdx) continue;
      for (let d = 0; d < width; d++) {
        const at = ids!.data[i]! * width + d;
        out!.data[at] = out!.data[at]! + g!.data[i * width + d]!;
      }
    }
  },
  // The sum is linear: each position gets what its row of the output gets.
  vjp: ({ inputs: [ids], grads: [g], attrs: { paddingIdx } }) => {
    const own = embedding(g!, ids!);
    if (paddingIdx === NO_PADDING) return [null, own];
    const isPadding = equal(ids!.cast('float32'), g!.engine.full([], paddingIdx));
    return [null, own.mul(affine(isPadding, -1, 1).unsqueeze(-1))];
  },
  saves: { inputs: [0] },
});

/**
 * Rows [..., D] -> [count, D]: row i of the result is the sum of those whose id is i, 0 where there
 * is none; what `embedding` looks up, put back.
 *
 * @param ids int32 [...], each in 0..count-1
 */
export const scatterRows = (rows: Tensor, ids: Tensor, count: number): Tensor =>
  rows.engine.run(embeddingGradOp, [ids, rows], { rows: count, paddingIdx: NO_PADDING })[0]!;

/**
 * Rows of `weight` [V, D] by `ids` (int32 [...], each in 0..V-1) -> [..., D].
 *
 * @param paddingIdx the row that gets no gradient from this, as in torch; null: none
 */
export const embedding = (
  weight: Tensor,
  ids: Tensor,
  { paddingIdx = null }: { readonly paddingIdx?: number | null } = {},
): Tensor =>
  weight.engine.run(embeddingOp, [weight, ids], { paddingIdx: paddingIdx ?? NO_PADDING })[0]!;
