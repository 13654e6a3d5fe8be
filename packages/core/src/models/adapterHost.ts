import type { Parameter } from '../nn/module.js';
import type { VirtualTokens } from '../nn/virtualTokens.js';
import type { LanguageModel } from './languageModel.js';

/**
 * How the rest of the SDK reaches the adapters of a model without knowing any method: the Trainer
 * saves through it, an alignment objective switches adapters off for its reference model.
 */
export interface AdapterHost {
  /** Names of the adapters that take part in `forward`. */
  readonly activeAdapters: readonly string[];
  /** Runs `fn` with the base model alone. Works for recording functions and for async ones. */
  withAdaptersDisabled<T>(fn: () => T): T;
  /**
   * Runs `fn` with an adapter of its own for each row of the batch, "__base__" for none; for inference. Works for
   * recording functions and for async ones. Absent: it cannot.
   */
  withAdapterPerRow?<T>(names: readonly string[], fn: () => T): T;
  /** Virtual tokens that the active adapters put before the tokens of every row: V. Absent: 0. */
  readonly numVirtualTokens?: number;
  /** Makes them, recorded; null: there are none. A model asks once for each pass that begins rows. */
  virtualTokens?(): VirtualTokens | null;
  /**
   * Whether the last of them predicts the first token of a row, which is then learned: so where they are embeddings; keys
   * and values have no output. Absent: false.
   */
  readonly predictsFirstToken?: boolean;
  /** Writes adapter_config.json and adapter_model.safetensors. */
  savePretrained(folder: string): Promise<void>;
  /** Reads the weights of the active adapter back from such a folder (best checkpoint, resume). */
  loadWeights(folder: string): Promise<void>;
  /**
   * Asked before an update: throws where nothing would be learned, or what is learned would be in no file that
   * `savePretrained` writes. Absent: there is nothing to say.
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

/** What a PEFT plugin registers under `TOKENS.AdapterService`, so that a Trainer can apply a `peftConfig`. */
export interface AdapterService {
  /**
   * Freezes the model and adds an adapter. @param config as in PEFT, camelCase or snake_case
   */
  apply(model: LanguageModel, config: Readonly<Record<string, unknown>>): LanguageModel;
}
