import { AttuneError, ops, type Tensor } from '@attune/core';
import type { AdapterContext, LayerInfo } from '../../contract/layerInfo.js';
import { doraFactor } from './dora.js';

interface EmbeddingTensors {
  /** [r, V] */
  readonly A: Tensor;
  /** [D, r] */
  readonly B: Tensor;
  /** [D], of DoRA */
  readonly magnitude?: Tensor | undefined;
}

/**
 * LoRA of an embedding E [V, D] that multiplies what it looks up by c: y = c (E[ids] + s A^T[ids]
 * B^T), of DoRA times m / ||E^T + s B A||. No dropout: ids have none.
 *
 * A tied head reads E alone, as in PEFT; and the row of E that its own lookups do not train, those
 * of A^T do not either.
 *
 * @param ids int32 [..., T]
 * @returns [..., T, D]
 */
export function embeddingForward(
  ids: Tensor,
  base: (ids: Tensor) => Tensor,
  { A, B, magnitude }: EmbeddingTensors,
  scale: number,
  context: AdapterContext,
): Tensor {
  const low = ops.embedding(A.transpose(), ids, context.layer.embedding!); // [..., T, r]
  const y = low.matmul(B, {
    transposeB: true,
    scale: scale * context.layer.embedding!.scale,
    addend: base(ids),
  });
  return magnitude ? y.mul(doraFactor({ A, B, magnitude }, scale, context)) : y;
}

/** @throws PEFT_CONFIG_INVALID: PEFT has no bias there either */
export function refuseBias({ path }: LayerInfo, loraBias: boolean): void {
  if (!loraBias) return;
  throw new AttuneError(
    'PEFT_CONFIG_INVALID',
    `loraBias is true, and ${path} is an embedding, whose B can have no bias.`,
    { remedy: 'Leave loraBias out, or the embedding out of targetModules.' },
  );
}
