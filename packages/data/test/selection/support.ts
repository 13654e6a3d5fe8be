/** A Llama of 7,000 weights with a vocabulary of bytes. */
export const tinyConfig = {
  model_type: 'llama',
  vocab_size: 260,
  hidden_size: 16,
  intermediate_size: 32,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 2,
  max_position_embeddings: 256,
};

/** Bytes as tokens, from 3 on; 1 begins a text unless it is told not to. */
export const bytes = {
  eosToken: '</s>',
  eosTokenId: 2,
  bosTokenId: null,
  encode: (text: string): number[] => [...Buffer.from(text)].map((byte) => byte + 3),
};
