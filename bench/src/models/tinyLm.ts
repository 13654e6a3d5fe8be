import type { RawConfig } from '@attune/core/io';

/** Sizes of the tiny LM of the performance notes, 8.3 M parameters: one step is about 49 GFLOP. */
export interface TinyLm {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly innerSize: number;
  readonly numLayers: number;
  readonly numHeads: number;
  /** Tokens of a row. */
  readonly length: number;
  readonly batchSize: number;
}

export const tinyLm: TinyLm = {
  vocabSize: 4096,
  hiddenSize: 288,
  innerSize: 768,
  numLayers: 6,
  numHeads: 6,
  length: 256,
  batchSize: 4,
};

/** Its config.json: a Llama with a head of its own. */
export const tinyLmConfig: RawConfig = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  vocab_size: tinyLm.vocabSize,
  hidden_size: tinyLm.hiddenSize,
  intermediate_size: tinyLm.innerSize,
  num_hidden_layers: tinyLm.numLayers,
  num_attention_heads: tinyLm.numHeads,
  num_key_value_heads: tinyLm.numHeads,
  max_position_embeddings: 1024,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: false,
  hidden_act: 'silu',
  initializer_range: 0.02,
  bos_token_id: 1,
  eos_token_id: 2,
};

/** Ids that look random and are the same in every run. */
export const someIds = (count: number, vocabSize: number, seed = 1): number[] =>
  Array.from({ length: count }, (_, i) => ((i + 1) * 7919 + seed * 104729 + i * i) % vocabSize);

/** Values between -0.5 and 0.5, the same in every run. */
export const someValues = (count: number, seed = 1): Float32Array => {
  let state = seed >>> 0 || 1;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32 - 0.5;
  });
};
