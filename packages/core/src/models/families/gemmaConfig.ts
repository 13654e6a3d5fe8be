import { z } from 'zod';
import type { DType } from '../../backend/dtype.js';
import { type ComputeDType, roundTo } from '../../backend/dtype.js';

const size = z.int().positive();

/**
 * Hugging Face's names of the gate's activation. Old files of Gemma say "gelu" and mean the
 * approximation.
 */
export const gemmaActivation = z
  .enum(['gelu_pytorch_tanh', 'gelu'])
  .nullish()
  .transform(() => 'gelu_pytorch_tanh' as const);

/** The keys that the Gemmas share. */
export const gemmaConfig = z.object({
  vocab_size: size,
  hidden_size: size,
  intermediate_size: size,
  num_hidden_layers: size,
  num_attention_heads: size,
  num_key_value_heads: size.nullish(),
  head_dim: size.default(256),
  max_position_embeddings: size,
  rms_norm_eps: z.number().positive().default(1e-6),
  tie_word_embeddings: z.boolean().default(true),
  pad_token_id: z.int().nullish().default(0),
  attention_bias: z.boolean().default(false),
  /** Dropout of attention is not implemented, so only 0 is accepted. */
  attention_dropout: z.literal(0).nullish(),
  /** Attention that looks ahead is not implemented, so only its absence is accepted. */
  use_bidirectional_attention: z.literal(false).nullish(),
});

/**
 * sqrt(hidden), which Gemma multiplies embeddings with, rounded to their storage as in
 * transformers.
 */
export function embeddingScale(hiddenSize: number, dtype: DType): number {
  const scale = Math.sqrt(hiddenSize);
  return dtype === 'float16' || dtype === 'bfloat16'
    ? roundTo(scale, dtype as ComputeDType)
    : scale;
}
