import { z } from 'zod';
import { parseConfig, type RawConfig } from '../../io/hfConfig.js';
import type { ModelFacts } from './family.js';

const size = z.int().positive();
const tokenId = z.int().nonnegative();

/** One id, several or none: Hugging Face writes all three. */
export const tokenIds = z
  .union([tokenId, z.array(tokenId)])
  .nullish()
  .transform((ids) => (typeof ids === 'number' ? [ids] : (ids ?? [])));

const standard = z.object({
  vocab_size: size,
  hidden_size: size,
  num_hidden_layers: size,
  num_attention_heads: size,
  num_key_value_heads: size.nullish(),
  head_dim: size.nullish(),
  max_position_embeddings: size,
  tie_word_embeddings: z.boolean().default(false),
  bos_token_id: tokenId.nullish(),
  eos_token_id: tokenIds,
  pad_token_id: z.int().nullish(),
});

/**
 * The facts of a config.json that uses the standard names; `known` replaces those that it does not.
 */
export function baseConfig(raw: RawConfig, known: Partial<ModelFacts>, where: string): ModelFacts {
  const config = parseConfig(standard, { ...raw, ...namesOf(known) }, where);
  const pad = config.pad_token_id;
  return {
    vocabSize: config.vocab_size,
    hiddenSize: config.hidden_size,
    numHiddenLayers: config.num_hidden_layers,
    numAttentionHeads: config.num_attention_heads,
    numKeyValueHeads: config.num_key_value_heads ?? config.num_attention_heads,
    headDim: config.head_dim ?? config.hidden_size / config.num_attention_heads,
    maxPositionEmbeddings: config.max_position_embeddings,
    tieWordEmbeddings: config.tie_word_embeddings,
    bosTokenId: config.bos_token_id ?? null,
    eosTokenId: config.eos_token_id,
    // Some Llama configs say -1 for "none".
    padTokenId: pad === undefined || pad === null || pad < 0 ? null : pad,
  };
}

function namesOf(known: Partial<ModelFacts>): RawConfig {
  const names = {
    vocab_size: known.vocabSize,
    hidden_size: known.hiddenSize,
    num_hidden_layers: known.numHiddenLayers,
    num_attention_heads: known.numAttentionHeads,
    num_key_value_heads: known.numKeyValueHeads,
    head_dim: known.headDim,
    max_position_embeddings: known.maxPositionEmbeddings,
    tie_word_embeddings: known.tieWordEmbeddings,
  };
  return Object.fromEntries(Object.entries(names).filter(([, value]) => value !== undefined));
}
