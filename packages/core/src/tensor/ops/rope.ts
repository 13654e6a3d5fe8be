import { isFloat } from '../../backend/dtype.js';
import { defineOp, type OpDef } from '../op.js';
import { requireFit, sameShape } from '../shape.js';
import type { Tensor } from '../tensor.js';
import { embedding } from './embedding.js';
import { concat } from './movement.js';

/**
 * Inputs: x [B, T, H, D], cos and sin [positions, R/2], positions int32 [B, T]; R <= D features
 * turn.
 */
export const ropeOp: OpDef<{ inverse: boolean }> = defineOp({
  name: 'rope',
  infer: (inputs) => {
    const [x, cos, sin, positions] = inputs;
    const fits =
      x!.shape.length === 4 &&
      cos!.shape.length === 2 &&
      sameShape(cos!.shape, sin!.shape) &&
      2 * cos!.shape[1]! <= x!.shape[3]! &&
      sameShape(positions!.shape, x!.shape.slice(0, 2)) &&
      !isFloat(positions!.dtype) &&
      [x, cos, sin].every((t) => t!.dtype === 'float32');
    requireFit(
      fits,
      'rope',
      inputs,
      'Give float32 x [B, T, H, D], cos and sin [positions, R/2] with R <= D, int32 positions [B, T]',
    );
    return [{ shape: x!.shape, dtype: 'float32' }];
  },
  decompose: ([x, cosTable, sinTable, positions], { inverse }) => {
    const half = cosTable!.shape[1]!;
    const cos = embedding(cosTable!, positions!).unsqueeze(2); // [B, T, 1, R/2]
    const table = embedding(sinTable!, positions!).unsqueeze(2);
    const sin = inverse ? table.neg() : table;
    const first = x!.slice(3, 0, half);
    const second = x!.slice(3, half, 2 * half);
    const parts = [first.mul(cos).sub(second.mul(sin)), second.mul(cos).add(first.mul(sin))];
    if (2 * half < x!.shape[3]!) parts.push(x!.slice(3, 2 * half, x!.shape[3]!));
    return [concat(parts, 3)];
  },
  // A rotation's transpose is the rotation back.
  vjp: ({ inputs: [, cos, sin, positions], grads: [g], attrs, engine }) => [
    engine.run(ropeOp, [g!, cos!, sin!, positions!], { inverse: !attrs.inverse })[0]!,
    null,
    null,
    null,
  ],
  saves: { inputs: [1, 2, 3] },
});

/**
 * {@link ropeOp} of queries and keys in one pass. Inputs: q, k, cos, sin, positions. Outputs: q, k,
 * turned.
 */
export const ropePairOp: OpDef<{ inverse: boolean }> = defineOp({
  name: 'ropePair',
  infer: ([q, k, ...rest], attrs) => [
    ...ropeOp.infer([q!, ...rest], attrs),
    ...ropeOp.infer([k!, ...rest], attrs),
  ],
  decompose: ([q, k, ...rest], attrs, engine) => [
    ...engine.run(ropeOp, [q!, ...rest], attrs),
    ...engine.run(ropeOp, [k!, ...rest], attrs),
  ],
  vjp: ({ inputs: [, , ...rest], grads: [gq, gk], attrs: { inverse }, engine }) => {
    const back = { inverse: !inverse };
    const none = [null, null, null];
    if (gq && gk) return [...engine.run(ropePairOp, [gq, gk, ...rest], back), ...none];
    const one = (g: Tensor | null | undefined) =>
      g ? engine.run(ropeOp, [g, ...rest], back)[0]! : null;
    return [one(gq), one(gk), ...none];
  },
  saves: { inputs: [2, 3, 4] },
});

/**
 * Rotary position embedding (Su et al., arXiv:2104.09864) in the half-split layout of Hugging Face
 * checkpoints: feature i turns with feature i + R/2, by the angle of its position.
 *
 * @param x [B, T, H, D]
 * @param tables cos and sin, [positions, R/2]
 * @param positions int32 [B, T]
 */
export const rope = (x: Tensor, tables: { cos: Tensor; sin: Tensor }, positions: Tensor): Tensor =>
  x.engine.run(ropeOp, [x, tables.cos, tables.sin, positions], { inverse: false })[0]!;

/** {@link rope} of queries and keys in one pass: [B, T, H, D] and [B, T, Hkv, D]. */
export function ropePair(
  q: Tensor,
  k: Tensor,
  tables: { cos: Tensor; sin: Tensor },
  positions: Tensor,
): [Tensor, Tensor] {
  const inputs = [q, k, tables.cos, tables.sin, positions];
  const [qTurned, kTurned] = q.engine.run(ropePairOp, inputs, { inverse: false });
  return [qTurned!, kTurned!];
}
