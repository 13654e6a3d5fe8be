import type { PlainJson } from '@attune/core/util';

/** What {@link Embedder.embed} takes beside the texts. */
export interface EmbedCall {
  readonly signal?: AbortSignal | null;
}

/**
 * Turns texts into vectors that lie near each other where the texts mean the same. `modelEmbedder`
 * and `endpointEmbedder` make one; anything of this form is one.
 */
export interface Embedder {
  /** For reports: "bge-small-en, mean". */
  readonly name: string;
  /** What its vectors depend on. Vectors that were kept are taken again where it is the same. */
  fingerprint(): PlainJson | Promise<PlainJson>;
  /**
   * One vector for each text, in the order of the texts, all of one length. The length of a vector
   * in space need not be 1. It makes batches of its own: a call may have hundreds of texts.
   */
  embed(texts: readonly string[], call?: EmbedCall): Promise<readonly Float32Array[]>;
}
