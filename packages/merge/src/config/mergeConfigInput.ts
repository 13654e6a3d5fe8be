import type { ParameterScalar } from './mergeConfig.js';
import type { ModelReferenceInput } from './modelReference.js';

/** A value for tensors whose name contains `filter`. */
export interface FilteredValueInput {
  /** A part of the name of a tensor: "self_attn". Default, and "*": all. */
  readonly filter?: string | null;
  /** A value, or a gradient over the layers. */
  readonly value: ParameterScalar | readonly ParameterScalar[];
}

/**
 * What a parameter is set to: a value; a gradient over the layers, `[0, 0.5, 1]`; or filters, of
 * which the first that fits a tensor counts.
 */
export type ParameterInput =
  | ParameterScalar
  | readonly ParameterScalar[]
  | FilteredValueInput
  | readonly FilteredValueInput[];

/** Parameters of the merge method by name: `{ density: 0.5, weight: [0, 1] }`. */
export type ParametersInput = Readonly<Record<string, ParameterInput>>;

/** A model that is merged. */
export interface InputModelInput {
  /** A folder, a Hub id, or `base+adapter`. */
  readonly model: ModelReferenceInput;
  /** Parameters of this model. Default: those of the config. */
  readonly parameters?: ParametersInput | null;
}

/** Layers of a model. */
export interface InputSliceInput extends InputModelInput {
  /** The first layer, and the one after the last. */
  readonly layerRange: readonly [begin: number, end: number];
}

/** Layers of the output. */
export interface OutputSliceInput {
  /** What they are merged from: the same number of layers of each. */
  readonly sources: readonly InputSliceInput[];
  /** The base of this slice. Default: that of the config. */
  readonly baseModel?: ModelReferenceInput | null;
  /** Has no effect, here as in mergekit. */
  readonly residualWeight?: number | null;
  /** Parameters of this slice. Default: those of the config. */
  readonly parameters?: ParametersInput | null;
}

/** What a module of the output is merged from. */
export interface OutputModuleInput {
  /** Whole models. One of `models` and `slices`. */
  readonly models?: readonly InputModelInput[] | null;
  /** Slices of layers, in the order of the output. */
  readonly slices?: readonly OutputSliceInput[] | null;
  /** Parameters of this module. Default: those of the config. */
  readonly parameters?: ParametersInput | null;
}

/** Which embedding a token has. */
export interface TokenInput {
  /**
   * A model, whose embedding of the token is taken; a token of a model; or zeros. Default: the only
   * model that has it, else the base, else the mean.
   */
  readonly source?:
    | ModelReferenceInput
    | {
        readonly kind: 'model_token';
        readonly model: ModelReferenceInput;
        /** The token by its id. One of `tokenId` and `token`. */
        readonly tokenId?: number | null;
        /** The token as the tokenizer of the model writes it. */
        readonly token?: string | null;
      }
    | { readonly kind: 'zero' }
    | null;
  /** Takes the source's embedding even where a model has the token. Default false. */
  readonly force?: boolean;
}

/** The tokenizer of the output. */
export interface TokenizerInput {
  /** All tokens of all models, those of the base, or those of a model. Default 'union'. */
  readonly source?: 'union' | 'base' | ModelReferenceInput;
  /** Embeddings of single tokens, by token. */
  readonly tokens?: Readonly<Record<string, TokenInput>> | null;
  /** Rows are added until their number is a multiple of it. Default: none. */
  readonly padToMultipleOf?: number | null;
}

/** What tensors are computed or written in. */
export type MergeDtypeInput = 'float32' | 'bfloat16' | 'float16';

/** A merge in code: a config of mergekit in camelCase. Exactly one of models, slices, modules. */
export interface MergeConfigInput {
  /** Name of the method: 'ties'. */
  readonly mergeMethod: string;
  /** Whole models. */
  readonly models?: readonly InputModelInput[] | null;
  /** Slices of layers, in the order of the output. */
  readonly slices?: readonly OutputSliceInput[] | null;
  /** What each module of a model with several is merged from, by its name. */
  readonly modules?: Readonly<Record<string, OutputModuleInput>> | null;
  /** The base of task vectors. Default: none. */
  readonly baseModel?: ModelReferenceInput | null;
  /** Parameters of the method for all models. */
  readonly parameters?: ParametersInput | null;
  /** What tensors are converted to before they are merged. Default: the dtype of the inputs. */
  readonly dtype?: MergeDtypeInput | null;
  /** What is written. Default: `dtype`. */
  readonly outDtype?: MergeDtypeInput | null;
  /** The tokenizer that is built. Default: that of the base, or of the first model, as it is. */
  readonly tokenizer?: TokenizerInput | null;
  /** The same in short. One of the two. */
  readonly tokenizerSource?: 'union' | 'base' | ModelReferenceInput | null;
  /** 'auto' (the one that most models have), a name, or a Jinja template. Default: as it is. */
  readonly chatTemplate?: string | null;
}
