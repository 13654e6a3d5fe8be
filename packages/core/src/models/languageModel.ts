import type { Attune } from '../attune.js';
import type { ConfigSources } from '../io/hfConfig.js';
import type { CappedHead } from '../nn/decoder.js';
import type { Module } from '../nn/module.js';
import type { Engine } from '../tensor/engine.js';
import type { Tensor } from '../tensor/tensor.js';
import { AttuneError } from '../util/errors.js';
import type { AdapterHost } from './adapterHost.js';
import type { NestedFacts } from './families/nestedFamily.js';
import type { GenerateOptions, GenerateOutput } from './generation/generate.js';
import type { KvCache } from './kvCache.js';
import type { CheckpointingOptions, DequantizeOptions } from './modelOptions.js';

export type { CheckpointingOptions, DequantizeOptions } from './modelOptions.js';

/** The facts of a config.json that code outside of a model family relies on. */
export interface ModelConfig {
  readonly modelType: string;
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly numHiddenLayers: number;
  readonly numAttentionHeads: number;
  readonly numKeyValueHeads: number;
  readonly headDim: number;
  /** Longest sequence that the model allows. */
  readonly maxPositionEmbeddings: number;
  readonly tieWordEmbeddings: boolean;
  /**
   * A sequence longer than this needs the keys of its first tokens again: beyond it positions turn
   * by other frequencies (longrope). Default: none such.
   */
  readonly cacheSwitchLength?: number | null;
  readonly bosTokenId: number | null;
  readonly eosTokenId: readonly number[];
  readonly padTokenId: number | null;
  /**
   * Where the text model is one of several towers, of which the others are left out. Default: it is
   * alone.
   */
  readonly nested?: NestedFacts | null;
  /** config.json as it was read, snake_case: written back unchanged. */
  readonly raw: Readonly<Record<string, unknown>>;
  /**
   * generation_config.json as it was read, snake_case: defaults of `generate`. Null without the
   * file.
   */
  readonly generation?: Readonly<Record<string, unknown>> | null;
  /**
   * How the two files are spelt, so that `50.0` is not written back as 50. Null: made from values.
   */
  readonly sources?: ConfigSources | null;
}

/** What a model computes hidden states and logits from. */
export interface ForwardInput {
  /** int32 [B, T] */
  readonly inputIds: Tensor;
  /**
   * int32 [B, T]; default 0..T-1 (after what is cached). Packed rows start again at 0. Virtual
   * tokens are not counted: the model adds their number. Frequencies of type dynamic and longrope
   * follow `reach` where the host knows it, else the width of the rows.
   */
  readonly positions?: Tensor | null;
  /**
   * int32 [B, S]. Tokens attend only within their own segment, and to virtual tokens. Padding has a
   * segment of its own. The number -2 is taken. With a cache, S is what fits beside the virtual
   * tokens.
   */
  readonly segments?: Tensor | null;
  readonly cache?: KvCache | null;
  /**
   * Asks `hiddenStates` for the last virtual token too, before the tokens: [B, 1 + T, hidden]. Only
   * virtual tokens that are embeddings have one. Default false.
   */
  readonly withLastVirtual?: boolean;
}

/** What a model's head is for: PEFT's `task_type`. Heads of plugins may have others. */
export type TaskType = 'CAUSAL_LM' | 'SEQ_CLS' | (string & {});

/** What the labels are, as in Hugging Face's `problem_type`. */
export type ProblemType =
  | 'regression'
  | 'single_label_classification'
  | 'multi_label_classification';

/** What the scores of a model are. */
export interface Scoring {
  /** Scores of a sequence: classes, or 1 for a number (a reward, a regression). */
  readonly numLabels: number;
  readonly problemType: ProblemType;
}

/** Which token of each row is read. One of the two is needed where rows are padded. */
export interface ScoreInput extends ForwardInput {
  /** int32 [B]: the last token of each row. Default: that of the mask, else T-1. */
  readonly lastTokens?: Tensor | null;
  /** int32 [B, T]: 1 for tokens, 0 for padding on either side. Stands for `segments`, too. */
  readonly attentionMask?: Tensor | null;
}

/**
 * A language model as the Trainer, objectives and adapters see it. `CausalLM` and
 * `SequenceClassifier` are ones; a PeftModel is one of them with adapters. What a head adds shows
 * by what is there: a model that scores has `scores`, one that writes text is a `GenerativeModel`.
 */
export interface LanguageModel {
  readonly taskType: TaskType;
  readonly attune: Attune;
  readonly engine: Engine;
  readonly config: ModelConfig;
  /** The module tree: parameters by their checkpoint names, adapters included. */
  readonly root: Module;
  /** The adapters on it, if any. */
  adapters: AdapterHost | null;
  /** Where it was loaded from: PEFT's base_model_name_or_path. */
  readonly nameOrPath: string;
  /**
   * The folder of its files on this machine, in the Hub's cache where it was fetched. Null: the
   * model was made from a config.
   */
  readonly folder: string | null;
  /** The last hidden states after the final norm, [B, T, hidden]: what the head reads. */
  hiddenStates(input: ForwardInput): Tensor;
  /** Hidden states [..., hidden] -> logits [..., V]. */
  head(hidden: Tensor): Tensor;
  /**
   * The weight [V, hidden] where `head` is nothing but the product with it; then a loss may take
   * head and cross-entropy in one. Null where there is more to it, such as a bias or an adapter.
   */
  headWeight(): Tensor | null;
  /**
   * Weight [V, hidden] and c where `head` is c tanh(x / c) of the product x with the weight, as in
   * Gemma 2; then `headWeight` is null, and a loss may take product, cap and cross-entropy in one.
   * Else null.
   */
  cappedHead?(): CappedHead | null;
  /** head(hiddenStates(input)): [B, T, V]. */
  forward(input: ForwardInput): Tensor;
  /**
   * From now on the backward pass computes the layers again instead of keeping what is in them. It
   * takes about a third more time and a fraction of the memory. `gradientCheckpointing` of a
   * Trainer calls it.
   */
  gradientCheckpointingEnable(options?: CheckpointingOptions): void;
  gradientCheckpointingDisable(): void;
  readonly isGradientCheckpointing: boolean;
  /**
   * Puts full-precision layers in the place of those that hold their weights in 4 or 8 bits. They
   * take four to eight times the memory. Nothing happens to a model without any.
   *
   * @throws MODEL_HAS_ADAPTERS
   */
  dequantize?(options?: DequantizeOptions): void;
  /** What `scores` gives. Absent: the model scores nothing. */
  readonly scoring?: Scoring | undefined;
  /**
   * Scores of whole sequences, [B, numLabels]. Classifiers and reward models have it. Absent: the
   * model has none.
   */
  readonly scores?: ((input: ScoreInput) => Tensor) | undefined;
  /**
   * One number for each token, [B, T]: what a critic expects from there on. Absent: the model has
   * none.
   */
  readonly values?: ((input: ForwardInput) => Tensor) | undefined;
  /**
   * The same of hidden states that are there already: [..., hidden] -> [...]. So log-probabilities
   * and values share one pass through the layers. A model has it where it has `values`.
   */
  readonly valuesOf?: ((hidden: Tensor) => Tensor) | undefined;
  /**
   * Paths of the modules of a head that is not the language model's. Adapters do not wrap them but
   * train them whole (PEFT's `modules_to_save`). Absent: none.
   */
  readonly headModules?: readonly string[] | undefined;
  /** Writes config.json, generation_config.json and model.safetensors, or its shards. */
  savePretrained(folder: string): Promise<void>;
}

/** A language model that writes text: `CausalLM`, and what is around one. */
export interface GenerativeModel extends LanguageModel {
  generate(options: GenerateOptions): Promise<GenerateOutput>;
  generateStream(options: GenerateOptions): AsyncGenerator<number>;
}

/**
 * The model as one that writes text.
 *
 * @param what needs it, for the message
 * @throws GENERATE_OPTION
 */
export function generative(model: LanguageModel, what: string): GenerativeModel {
  if (model.taskType === 'CAUSAL_LM' && 'generate' in model) return model as GenerativeModel;
  throw new AttuneError(
    'GENERATE_OPTION',
    `${what}: a model for the task "${model.taskType}" writes no text.`,
    { remedy: 'Load the checkpoint with AutoModelForCausalLM to generate.' },
  );
}

/** Tokens of a row at most: virtual tokens take positions too. */
export const longestInput = ({ config, adapters }: LanguageModel): number =>
  config.maxPositionEmbeddings - (adapters?.numVirtualTokens ?? 0);

/** For messages: ", of which 20 are virtual"; nothing where none are. */
export const virtualOnes = ({ adapters }: LanguageModel): string =>
  adapters?.numVirtualTokens ? `, of which ${adapters.numVirtualTokens} are virtual,` : '';
