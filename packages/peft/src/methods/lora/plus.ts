interface LoraPlusOptions {
  readonly loraplusLrRatio: number | null;
  readonly loraplusLrEmbedding: number;
}

/**
 * LoRA+: B learns `loraplusLrRatio` times as fast as A, adapted embeddings at a rate of their own.
 * Biases, magnitudes and other vectors learn as fast as B, as PEFT's create_loraplus_optimizer has
 * it.
 *
 * @see arXiv:2402.12354 (Hayou et al.)
 */
export function loraPlusScale(
  { name, shape }: { readonly name: string; readonly shape: readonly number[] },
  { loraplusLrRatio, loraplusLrEmbedding }: LoraPlusOptions,
  learningRate: number,
): number {
  if (loraplusLrRatio === null) return 1;
  if (/\.lora_embedding_[AB]$/.test(name))
    return learningRate > 0 ? loraplusLrEmbedding / learningRate : 1;
  return /\.lora_B\./.test(name) || shape.length === 1 ? loraplusLrRatio : 1;
}
