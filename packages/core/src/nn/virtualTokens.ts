import { EVERY_SEGMENT } from '../tensor/ops/attention.js';
import { concat } from '../tensor/ops/movement.js';
import type { Tensor } from '../tensor/tensor.js';

/** Keys and values of tokens in one layer. */
export interface KeyValues {
  /**
   * [V, Hkv, D], or [B, L, Hkv, D] of a batch. They do not turn: rotary embeddings are not applied.
   */
  readonly keys: Tensor;
  /** As the keys. */
  readonly values: Tensor;
}

/**
 * What stands before the tokens of every row and is no token: learned embeddings (prompt tuning),
 * or learned keys and values in each layer (prefix tuning). The tokens behind have the positions
 * from V on.
 */
export type VirtualTokens =
  | {
      /** V */
      readonly count: number;
      /** [V, hidden], in the place of what the embedding gives for tokens. */
      readonly embeddings: Tensor;
      readonly layers?: never;
    }
  | {
      readonly count: number;
      readonly embeddings?: never;
      /** Keys and values of each layer, [V, Hkv, D]. */
      readonly layers: readonly KeyValues[];
    };

/**
 * The same rows for every row of a batch, before what it has: [V, ...], [B, T, ...] -> [B, V + T,
 * ...].
 */
export function before(virtual: Tensor, tokens: Tensor): Tensor {
  const rows = virtual.unsqueeze(0).expand(tokens.shape[0]!, ...virtual.shape);
  return concat([rows, tokens], 1);
}

/**
 * Segments of the tokens, int32 [B, S] -> with `count` keys before them that every token sees, [B,
 * count + S].
 */
export function segmentsBehind(count: number, segments: Tensor): Tensor {
  const { engine } = segments;
  return before(
    engine.tensor(new Int32Array(count).fill(EVERY_SEGMENT), [count], 'int32'),
    segments,
  );
}

/** Positions of the tokens, int32 [B, T], moved up by the virtual tokens before them. */
export const positionsBehind = (count: number, positions: Tensor): Tensor =>
  positions.cast('float32').add(count).cast('int32');

/** int32 0 .. count-1 for the virtual tokens, then the positions of the tokens: [B, count + T]. */
export function positionsFromStart(count: number, positions: Tensor): Tensor {
  const own = Int32Array.from({ length: count }, (_, i) => i);
  return before(positions.engine.tensor(own, [count], 'int32'), positions);
}
