import { SPECIAL_IDS } from './tokenizer.js';

export const VOCAB_SIZE = 1024;
export const MAX_LENGTH = 256;

/**
 * The shape of the base model: Llama with about 0.87 M parameters (0.13 M of them embeddings,
 * tied), small enough for a software GPU and deep enough to compare two places of a function.
 */
export const BASE_CONFIG = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  hidden_size: 128,
  intermediate_size: 352,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 32,
  hidden_act: 'silu',
  max_position_embeddings: MAX_LENGTH,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  rope_scaling: null,
  attention_bias: false,
  attention_dropout: 0,
  mlp_bias: false,
  // Above Llama's usual 0.02, which is meant for widths of thousands.
  initializer_range: 0.05,
  tie_word_embeddings: true,
  use_cache: true,
  vocab_size: VOCAB_SIZE,
  bos_token_id: SPECIAL_IDS.bos,
  eos_token_id: SPECIAL_IDS.eos,
  pad_token_id: SPECIAL_IDS.pad,
  torch_dtype: 'float32',
};

/** Greedy: the review of a function is an answer, not a story. */
export const GENERATION_CONFIG = {
  bos_token_id: SPECIAL_IDS.bos,
  eos_token_id: SPECIAL_IDS.eos,
  pad_token_id: SPECIAL_IDS.pad,
  do_sample: false,
  max_new_tokens: 48,
};
