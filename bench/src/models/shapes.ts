import type { RawConfig } from '@attune/core/io';

/** The config.json of published models: their sizes, without their weights. */

export const qwen05b: RawConfig = {
  model_type: 'qwen2',
  vocab_size: 151936,
  hidden_size: 896,
  intermediate_size: 4864,
  num_hidden_layers: 24,
  num_attention_heads: 14,
  num_key_value_heads: 2,
  head_dim: 64,
  max_position_embeddings: 32768,
  rms_norm_eps: 1e-6,
  rope_theta: 1000000,
  tie_word_embeddings: true,
};

export const qwen17b: RawConfig = {
  model_type: 'qwen3',
  vocab_size: 151936,
  hidden_size: 2048,
  intermediate_size: 6144,
  num_hidden_layers: 28,
  num_attention_heads: 16,
  num_key_value_heads: 8,
  head_dim: 128,
  max_position_embeddings: 40960,
  rms_norm_eps: 1e-6,
  rope_theta: 1000000,
  tie_word_embeddings: true,
};

/** No published one: small enough for a software device to compile and run in seconds. */
export const tiny: RawConfig = {
  ...qwen17b,
  vocab_size: 512,
  hidden_size: 128,
  intermediate_size: 256,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 32,
};

const llama3 = (factor: number): RawConfig => ({
  model_type: 'llama',
  vocab_size: 128256,
  num_key_value_heads: 8,
  max_position_embeddings: 131072,
  rms_norm_eps: 1e-5,
  rope_theta: 500000,
  rope_scaling: {
    rope_type: 'llama3',
    factor,
    low_freq_factor: 1,
    high_freq_factor: 4,
    original_max_position_embeddings: 8192,
  },
});

export const llama1b: RawConfig = {
  ...llama3(32),
  hidden_size: 2048,
  intermediate_size: 8192,
  num_hidden_layers: 16,
  num_attention_heads: 32,
  head_dim: 64,
  tie_word_embeddings: true,
};

export const llama3b: RawConfig = {
  ...llama3(32),
  hidden_size: 3072,
  intermediate_size: 8192,
  num_hidden_layers: 28,
  num_attention_heads: 24,
  head_dim: 128,
  tie_word_embeddings: true,
};

export const llama8b: RawConfig = {
  ...llama3(8),
  hidden_size: 4096,
  intermediate_size: 14336,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  head_dim: 128,
  tie_word_embeddings: false,
};

const gpt2: RawConfig = {
  model_type: 'gpt2',
  vocab_size: 50257,
  n_positions: 1024,
  layer_norm_epsilon: 1e-5,
  activation_function: 'gelu_new',
  resid_pdrop: 0,
  embd_pdrop: 0,
  attn_pdrop: 0,
  tie_word_embeddings: true,
};

export const distilGpt2: RawConfig = { ...gpt2, n_embd: 768, n_layer: 6, n_head: 12 };
export const gpt2Medium: RawConfig = { ...gpt2, n_embd: 1024, n_layer: 24, n_head: 16 };
