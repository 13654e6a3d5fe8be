// On its own, outside of the `ops` namespace: bundled declarations lose track of a type that a
// namespace re-exports from a shared chunk.
export interface MatmulOptions {
  /** Read a as [..., K, M]. Default false. */
  readonly transposeA?: boolean;
  /** Read b as [..., N, K]: the layout of a linear layer's weight. Default false. */
  readonly transposeB?: boolean;
}
