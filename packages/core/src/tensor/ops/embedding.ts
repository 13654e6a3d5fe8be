import { isFloat } from '../../backend/dtype.js';
import type { AttrValue } from '../../backend/opCall.js';
import { defineOp } from '../op.js';
import { numel, requireFit } from '../shape.js';
import type { Tensor } from '../tensor.js';

export interface EmbeddingAttrs extends Record<string, AttrValue> {
  /** The row of the weight that looking up gives no gradient; {@link NO_PADDING}: all rows get theirs. */
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

/** out[v] = sum of g over the positions whose id is v, 0 for v = paddingIdx. Inputs: ids [...], g [..., D]; out [rows, D]. */
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
});

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
