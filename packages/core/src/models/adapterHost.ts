import type { HubOptions } from '../io/hub.js';
import type { HostTensorData } from '../io/safetensors.js';
import type { Parameter } from '../nn/module.js';
import type { VirtualTokens } from '../nn/virtualTokens.js';
import type { LanguageModel } from './languageModel.js';

/**
 * How the rest of the SDK reaches the adapters of a model without knowing any method. The Trainer
 * saves through it; an alignment objective switches adapters off for its reference.
 */
export interface AdapterHost {
  /** Names of the chosen adapters: `forward` computes with them, `loadWeights` reads them. */
  readonly activeAdapters: readonly string[];
  /**
   * Runs `fn` with these adapters instead of the chosen ones; with none, the base model alone. The
   * innermost call decides. What is chosen, trained and saved stays as it is. Works for recording
   * functions and for async ones; until an async `fn` settles, everybody has these adapters.
   */
  withAdapters<T>(names: string | readonly string[], fn: () => T): T;
  /** `withAdapters([], fn)`: the base model alone. */
  withAdaptersDisabled<T>(fn: () => T): T;
  /**
   * Adds a frozen copy of an adapter, which is not active: the reference of a model whose adapter
   * was trained before. `savePretrained` does not write it.
   */
  copyAdapter(name: string, copyName: string): Promise<void>;
  /**
   * Runs `fn` with an adapter of its own for each row of the batch, "__base__" for none; for
   * inference. Works for recording functions and for async ones. Absent: it cannot.
   */
  withAdapterPerRow?<T>(names: readonly string[], fn: () => T): T;
  /** Virtual tokens that the active adapters put before the tokens of every row: V. Absent: 0. */
  readonly numVirtualTokens?: number;
  /**
   * Records the virtual tokens; null: there are none. A model asks once for each pass that begins
   * rows.
   */
  virtualTokens?(): VirtualTokens | null;
  /**
   * Whether the last of them predicts the first token of a row, which is then learned. Embeddings
   * do; keys and values have no output. Absent: false.
   */
  readonly predictsFirstToken?: boolean;
  /** Writes adapter_config.json and adapter_model.safetensors. */
  savePretrained(folder: string): Promise<void>;
  /** Reads the weights of the active adapter back from such a folder (best checkpoint, resume). */
  loadWeights(folder: string): Promise<void>;
  /**
   * Throws where nothing would be learned, or where what is learned would be in no file that
   * `savePretrained` writes. A run asks for it before its first update. Absent: there is nothing to
   * say.
   *
   * @param options.saves whether the run writes checkpoints
   */
  checkTraining?(options: { readonly saves: boolean }): void;
  /** Fulfilled once adapters have their first values; training waits for it. */
  ready?(): Promise<void>;
  /**
   * The factor on the learning rate of a trained parameter; absent: 1 (LoRA+ has others).
   *
   * @param learningRate what it is a factor on: that of the run
   */
  learningRateScale?(parameter: Parameter, learningRate: number): number;
}

/** How a saved adapter is loaded. */
export interface AdapterLoadOptions extends HubOptions {
  /** What to call it. Default "default". */
  readonly adapterName?: string;
  /** Whether training goes on with it. Default false. */
  readonly isTrainable?: boolean;
}

/**
 * What a saved adapter adds to weights of its base, read one after the other. Close it after use.
 */
export interface AdapterDeltas extends AsyncDisposable {
  /** The base that the adapter names; null: none. */
  readonly baseModelNameOrPath: string | null;
  /**
   * The weights that it changes, as the base's checkpoint calls them:
   * `model.layers.0.self_attn.q_proj.weight`.
   */
  readonly names: readonly string[];
  /** The shape of a weight that it changes: nothing is read. @param name one of `names` */
  shapeOf(name: string): readonly number[];
  /**
   * W' - W, float32, laid out as the checkpoint has W.
   *
   * @param name one of `names`
   */
  read(name: string): Promise<HostTensorData>;
  close(): Promise<void>;
}

/**
 * What a PEFT plugin registers under `TOKENS.AdapterService`: how the Trainer, alignment and
 * merging reach adapters without knowing their package. {@link adaptersOf} finds it.
 */
export interface AdapterService {
  /** Freezes the model and adds a new adapter. @param config as in PEFT, camelCase or snake_case */
  apply(model: LanguageModel, config: Readonly<Record<string, unknown>>): LanguageModel;
  /**
   * Loads a saved adapter onto a model, beside those that it has, and makes it the active one.
   *
   * @param nameOrPath a folder with adapter_config.json and adapter_model.safetensors, or a Hub id
   * @returns the model with its adapters; the one given computes with them too
   */
  load(
    model: LanguageModel,
    nameOrPath: string,
    options?: AdapterLoadOptions,
  ): Promise<LanguageModel>;
  /**
   * Opens a saved adapter without a model, for a merge of `base+adapter`. An adapter that is no
   * plain difference of weights is refused.
   *
   * @param nameOrPath as for `load`
   */
  openDeltas(nameOrPath: string, options?: HubOptions): Promise<AdapterDeltas>;
}
