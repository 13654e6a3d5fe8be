/** A parameter of the base model, or a weight that it holds quantised. */
export interface BaseParameter {
  /** As in its checkpoint: `model.layers.0.self_attn.q_proj.bias`. */
  readonly name: string;
  readonly shape: readonly number[];
  /** Held as codes of 4 or 8 bits, say: cannot be trained. */
  readonly isQuantized: boolean;
}

/** The model that an adapter is for. */
export interface BaseModel {
  /** As config.json says, e.g. "llama". */
  readonly modelType: string;
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly numHiddenLayers: number;
  readonly numAttentionHeads: number;
  readonly numKeyValueHeads: number;
  readonly headDim: number;
  /** The output head is the embedding. */
  readonly tieWordEmbeddings: boolean;
  readonly parameters: readonly BaseParameter[];
}
