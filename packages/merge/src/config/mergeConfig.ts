/** A model as a config names it: `path@revision+adapter@revision`. */
export interface ModelReference {
  /** A folder, or a Hub id. */
  readonly path: string;
  /** Branch, tag or commit; null: the default. */
  readonly revision: string | null;
  /** An adapter that is merged into it; null: none. */
  readonly adapter: { readonly path: string; readonly revision: string | null } | null;
  /** All of it in one string: two references with the same key are the same model. */
  readonly key: string;
}

/** A number, a word, a switch; or a gradient over the layers. */
export type ParameterScalar = number | string | boolean;
/** A value, or one that changes over the layers: interpolated between entries of a list. */
export type ScalarOrGradient = ParameterScalar | readonly ParameterScalar[];

/** A value for tensors whose name contains `filter`; null or "*": for all. */
export interface FilteredSetting {
  readonly filter: string | null;
  readonly value: ScalarOrGradient;
}

/** What a parameter is set to: a value for all tensors, or the first filter that fits. */
export type ParameterSetting = ScalarOrGradient | readonly FilteredSetting[];

/** Settings of one scope, by the name of the parameter in camelCase. */
export type Settings = Readonly<Record<string, ParameterSetting>>;

/** A model that is merged, with its settings. */
export interface InputModel {
  readonly model: ModelReference;
  readonly parameters: Settings;
}

/** Layers `[begin, end)` of a model. */
export interface InputSlice extends InputModel {
  readonly layerRange: readonly [begin: number, end: number];
}

/** Layers of the output, and what they are merged from. */
export interface OutputSlice {
  readonly sources: readonly InputSlice[];
  /** In the place of the config's. */
  readonly baseModel: ModelReference | null;
  readonly parameters: Settings;
}

/** What a part of the model is merged from: whole models, or slices of layers. */
export type ModuleContent =
  | { readonly models: readonly InputModel[] }
  | { readonly slices: readonly OutputSlice[] };

/** A part of the model with its settings. */
export type OutputModule = ModuleContent & { readonly parameters: Settings };

/** Which embedding a token of the output has. */
export interface TokenSource {
  readonly source:
    | { readonly kind: 'model'; readonly model: ModelReference }
    | {
        readonly kind: 'modelToken';
        readonly model: ModelReference;
        /** One of the two. */
        readonly tokenId: number | null;
        readonly token: string | null;
      }
    | { readonly kind: 'zero' }
    | null;
  /** Also where a model has the token. */
  readonly force: boolean;
}

/** The tokenizer that is built. */
export interface TokenizerConfig {
  readonly source: 'union' | 'base' | ModelReference;
  readonly tokens: ReadonlyMap<string, TokenSource>;
  readonly padToMultipleOf: number | null;
}

/** Where something stands in the file that was read. */
export interface Place {
  readonly line: number;
  readonly column: number;
}

/** A config that was read and checked for itself, not yet against the models. */
export interface MergeConfig {
  readonly mergeMethod: string;
  readonly baseModel: ModelReference | null;
  /** `models:` and `slices:` are the module "default". */
  readonly modules: ReadonlyMap<string, OutputModule>;
  /** How the config was written: `models`, `slices` or `modules`. */
  readonly form: 'models' | 'slices' | 'modules';
  readonly parameters: Settings;
  readonly dtype: 'float32' | 'bfloat16' | 'float16' | null;
  readonly outDtype: 'float32' | 'bfloat16' | 'float16' | null;
  /** null: no tokenizer is built; that of the base (or the first model) is copied. */
  readonly tokenizer: TokenizerConfig | null;
  /** "auto", a name, or a Jinja template; null: that of the tokenizer. */
  readonly chatTemplate: string | null;
  /** The YAML as it was written, or as `toYaml` writes what was given in code. */
  readonly yaml: string;
  /** The file; null: given in code. */
  readonly file: string | null;
  /** What a user should know of the config, a sentence each. */
  readonly warnings: readonly string[];
  /**
   * Where a value stands, by its path in the config in the spelling of the file: `['models', 1,
   * 'parameters', 'density']`; where it would stand if it is missing. null: given in code.
   */
  placeOf(path: readonly (string | number)[]): Place | null;
  /** Where in the config settings of this config stand; null: they are not of it, or are none. */
  pathOf(settings: Settings): readonly (string | number)[] | null;
}
