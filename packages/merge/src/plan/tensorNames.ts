/** A name within a layer, taken apart: `model.layers.` 3 `mlp.up_proj.weight`. */
export interface LayerName {
  readonly prefix: string;
  readonly layer: number;
  readonly rest: string;
}

const IN_LAYER = /^((?:[^.]+\.)*?)(\d+)\.(.+)$/;

/** Takes a name apart at its first number; null: it has none. */
export function splitLayer(name: string): LayerName | null {
  const [, prefix, layer, rest] = IN_LAYER.exec(name) ?? [];
  return prefix === undefined ? null : { prefix, layer: Number(layer), rest: rest! };
}

/** What comes before the layers: the others but these come after them. */
const BEFORE = /(^|[._])(embed|embeds|embeddings?|wte|wpe)([._]|$)|embed_/;

export const isBeforeLayers = (name: string): boolean => BEFORE.test(name);

const EMBEDDING = /(^|\.)(embed_tokens|wte|word_embeddings|embed_in)\.weight$/;
const HEAD = /(^|\.)(lm_head|embed_out)\.weight$/;
const HEAD_BIAS = /(^|\.)(lm_head|embed_out)\.bias$/;

/** The table of token embeddings. */
export const isEmbedding = (name: string): boolean => EMBEDDING.test(name);

/** The output layer, which may be the embedding once more. */
export const isHead = (name: string): boolean => HEAD.test(name);

/** A tensor with a row for each token. */
export const hasVocabularyRows = (name: string): boolean =>
  EMBEDDING.test(name) || HEAD.test(name) || HEAD_BIAS.test(name);

/**
 * Buffers that old versions of transformers saved and that models compute anew: with them or
 * without, a model is the same.
 */
const IGNORED: readonly RegExp[] = [
  /(^|\.)rotary_emb\.inv_freq$/,
  /\.attn\.masked_bias$/,
  /(^|\.)position_ids$/,
];

/** GPT-2's causal mask [1, 1, T, T], which has the name of a bias. */
const MASK = /\.attn\.bias$/;

export const isIgnored = (name: string, shape: readonly number[]): boolean =>
  IGNORED.some((pattern) => pattern.test(name)) || (MASK.test(name) && shape.length === 4);
