import type { AdapterHost, LanguageModel } from '@attune/core';
import type { GenerativeModel } from '@attune/core/models';
import type { Parameter, VirtualTokens } from '@attune/core/nn';
import type { PeftConfig } from '../contract/config.js';
import type { OpenCall } from '../slots/adapterSlot.js';
import { PromptSlot } from '../slots/promptSlot.js';
import { checkAdapterRows } from './adapterRows.js';
import { AttachedAdapters } from './attachedAdapters.js';
import { finallyDo } from './finallyDo.js';
import { MergeState } from './mergeState.js';
import { WrappedModel } from './wrappedModel.js';

/**
 * A language model whose adapters are switched: what computes and what is trained. How they come,
 * merge and go is `PeftModel`'s.
 */
export abstract class AdaptedModel<Base extends LanguageModel = GenerativeModel>
  extends WrappedModel<Base>
  implements AdapterHost
{
  protected readonly attached: AttachedAdapters;
  protected readonly state: MergeState;

  constructor(base: Base) {
    super(base);
    this.attached = new AttachedAdapters(base);
    this.state = new MergeState(base, this, this.attached.switch);
  }

  abstract loadWeights(folder: string): Promise<void>;
  abstract copyAdapter(name: string, copyName: string): Promise<void>;

  /** Itself: how the Trainer finds the adapters. @throws PEFT_UNLOADED */
  get adapters(): AdapterHost {
    this.state.refuseUnloaded();
    return this;
  }

  /** @throws PEFT_UNLOADED */
  protected override get used(): Base {
    this.state.refuseUnloaded();
    return this.base;
  }

  /** Names of all adapters, in the order in which they came. */
  get adapterNames(): readonly string[] {
    return this.attached.names;
  }

  get activeAdapters(): readonly string[] {
    return this.attached.switch.active;
  }

  /** The parsed config of each adapter. */
  get peftConfig(): Readonly<Record<string, PeftConfig>> {
    return this.attached.configs;
  }

  /**
   * Chooses which adapters compute: one, or several whose effects add up. No weight is copied.
   *
   * An adapter that was made here or loaded with `isTrainable` is trained while it is active; one
   * that was loaded for inference stays frozen (PEFT would unfreeze it).
   *
   * @throws PEFT_ADAPTER_UNKNOWN, PEFT_MERGED, PEFT_CONFLICT
   */
  setAdapter(adapterNames: string | readonly string[]): void {
    this.state.refuseMerged('setAdapter');
    const names = typeof adapterNames === 'string' ? [adapterNames] : [...adapterNames];
    this.attached.activate(names);
  }

  /**
   * What the Trainer multiplies its learning rate by for a parameter of an active adapter: LoRA+.
   */
  learningRateScale(parameter: Parameter, learningRate: number): number {
    this.state.refuseUnloaded();
    return this.attached.learningRateScale(parameter, learningRate);
  }

  /**
   * Runs `fn` with these adapters instead of those of `setAdapter`; with none, the base alone,
   * without trained biases and modulesToSave. The innermost call decides. What is trained and saved
   * stays what `setAdapter` chose: an adapter that only this call names gets no gradient.
   *
   * Until an async `fn` settles, everybody who uses the model has these adapters.
   *
   * @example const reference = model.withAdapters('reference', () => inference(model, logProbs));
   * @param names one adapter, several whose effects add up, or []
   * @throws PEFT_ADAPTER_UNKNOWN, PEFT_MERGED, PEFT_CONFLICT
   */
  withAdapters<T>(names: string | readonly string[], fn: () => T): T {
    return this.#within('withAdapters', names, fn);
  }

  /**
   * Runs `fn` with the base model alone, trained biases and modulesToSave included:
   * `withAdapters([], fn)`.
   *
   * @throws PEFT_MERGED
   */
  withAdaptersDisabled<T>(fn: () => T): T {
    return this.#within('withAdaptersDisabled', [], fn);
  }

  #within<T>(caller: string, given: string | readonly string[], fn: () => T): T {
    this.state.refuseMerged(caller);
    const names = typeof given === 'string' ? [given] : [...given];
    this.attached.checkTogether(caller, names);
    return this.#open({ names, isPerRow: false }, fn);
  }

  /**
   * Runs `fn` with an adapter of its own for each row of every batch: PEFT's `adapter_names`. Rows
   * that are neighbours and have one adapter compute together, so a batch sorted by adapter is the
   * fastest. For inference. Until an async `fn` settles, everybody who uses the model has these
   * rows. `generate({ adapterNames })` does it by itself.
   *
   * @param names one for each row; "__base__": the base alone
   * @throws PEFT_ADAPTER_UNKNOWN, PEFT_MERGED; PEFT_ROWS for adapters that train whole modules or
   *   biases or give virtual tokens, while training, and for a batch of another size
   */
  withAdapterPerRow<T>(names: readonly string[], fn: () => T): T {
    this.state.refuseMerged('withAdapterPerRow');
    checkAdapterRows(this.attached, names);
    return this.#open({ names: [...names], isPerRow: true }, fn);
  }

  /** Layers that gradient checkpointing computes again have the adapters of this call again. */
  #open<T>(call: OpenCall, fn: () => T): T {
    const { open } = this.attached.switch;
    const setting = this.engine.during(() => {
      open.push(call);
      return { [Symbol.dispose]: () => void open.splice(open.lastIndexOf(call), 1) };
    });
    return finallyDo(fn, () => setting[Symbol.dispose]());
  }

  /**
   * What a Trainer asks before it trains: that something is learned, and that what is learned is in
   * what is saved.
   *
   * @throws PEFT_UNLOADED, PEFT_MERGED, PEFT_NO_ADAPTER, PEFT_TRAINED_BESIDE; PEFT_IN_USE within a
   *   `withAdapters`, in which others would compute than are trained
   */
  checkTraining({ saves }: { readonly saves: boolean }): void {
    this.state.refuseMerged('training');
    this.attached.checkActive('training');
    this.attached.checkUnused('training');
    if (saves) this.attached.checkNothingBeside();
  }

  // Virtual tokens, which the model puts before every row

  get numVirtualTokens(): number {
    return PromptSlot.of(this.root)?.count ?? 0;
  }

  get predictsFirstToken(): boolean {
    return PromptSlot.of(this.root)?.gives === 'embeddings';
  }

  virtualTokens(): VirtualTokens | null {
    return PromptSlot.of(this.root)?.virtualTokens() ?? null;
  }
}
