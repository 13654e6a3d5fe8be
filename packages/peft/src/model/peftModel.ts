import { AttuneError, type LanguageModel } from '@attune/core';
import type { HostTensorData } from '@attune/core/io';
import type { GenerativeModel } from '@attune/core/models';
import type { DequantizedDType } from '@attune/core/nn';
import { parseOptions } from '@attune/core/util';
import { combineAdapters } from '../combine/combineAdapters.js';
import { type WeightedAdapterOptions, weightedAdapterOptions } from '../combine/planCombination.js';
import {
  checkLoadAdapter,
  type LoadAdapterOptions,
  type SaveAdapterOptions,
  saveAdapterOptions,
} from '../files/options.js';
import { type NewAdapter, readAdapter } from '../files/readAdapter.js';
import type { PeftConfigInput } from '../methods/peftConfigInput.js';
import { planAdapter } from '../plan/planAdapter.js';
import { planFrom } from '../plan/planFrom.js';
import { baseModules, original } from '../slots/adapterSlot.js';
import { AdaptedModel } from './adaptedModel.js';
import { hostTensors, reloadAdapter, saveAdapters } from './adapterFiles.js';
import { quoted } from './attachedAdapters.js';
import { checkAdapterPath, checkBase, checkConfig } from './checkCall.js';
import {
  type MergeAndUnloadOptions,
  type MergeOptions,
  mergeAndUnloadOptions,
  mergeOptions,
} from './mergeOptions.js';
import type { BaseOf } from './wrappedModel.js';

/**
 * A language model with adapters. Its modules are wrapped in place: the base model given to it
 * computes with the adapters too, and there is one PeftModel for a base.
 */
export class PeftModel<Base extends LanguageModel = GenerativeModel> extends AdaptedModel<Base> {
  /** Adapters that are being made of others: what changes all of them waits. */
  #making: Promise<unknown> = Promise.resolve();
  /** First values that are being computed. */
  #starting: Promise<unknown> = Promise.resolve();

  private constructor(base: Base) {
    super(base);
  }

  /**
   * The PeftModel of a model: the one that it has, or a new one without adapters.
   *
   * @throws PEFT_OTHER_HOST
   */
  static on<M extends LanguageModel>(model: M): PeftModel<BaseOf<M>> {
    if (model.adapters === null) return new PeftModel(model as BaseOf<M>);
    if (model.adapters instanceof PeftModel) return model.adapters as PeftModel<BaseOf<M>>;
    throw new AttuneError('PEFT_OTHER_HOST', 'the model has adapters of another library.', {
      remedy: 'Load the model again, without them.',
    });
  }

  /**
   * Loads an adapter that Attune or PEFT saved onto a model, and makes it the active one. A model
   * that has adapters keeps them.
   *
   * @param nameOrPath a folder with adapter_config.json and adapter_model.safetensors, or a Hub id
   *   ("owner/name"), which is fetched once into Hugging Face's cache; a folder of that name comes
   *   first
   * @throws HUB_NOT_FOUND, HUB_ACCESS, HUB_UNREACHABLE, PEFT_ADAPTER_MISSING,
   *   PEFT_ADAPTER_INCOMPLETE, PEFT_OTHER_BASE, PEFT_BASE_CHANGED, PEFT_TYPE_UNKNOWN,
   *   PEFT_NOT_TRAINABLE
   */
  static async fromPretrained<M extends LanguageModel>(
    model: M,
    nameOrPath: string,
    options: LoadAdapterOptions = {},
  ): Promise<PeftModel<BaseOf<M>>> {
    checkBase('PeftModel.fromPretrained', model);
    checkAdapterPath('PeftModel.fromPretrained', nameOrPath);
    PeftModel.on(model); // refuses a model that cannot be used, before anything is fetched
    const loaded = await readAdapter(model, nameOrPath, options);
    // Only now: of two that load at once onto a new model, the second joins the first.
    const host = PeftModel.on(model);
    const { adapterName = 'default', isTrainable = false } = options;
    host.#attach(adapterName, loaded, { isTrainable });
    host.setAdapter(adapterName);
    await host.ready();
    return host;
  }

  // Adapters

  /**
   * Adds a new adapter beside those that are there; `setAdapter` makes it the active one.
   *
   * @throws PEFT_CONFIG_INVALID, PEFT_NO_TARGET, PEFT_ADAPTER_EXISTS
   */
  addAdapter(adapterName: string, config: PeftConfigInput): void {
    checkConfig('addAdapter', config);
    const plan = planFrom(this.used, { ...config }, { label: 'peftConfig', isFile: false });
    this.#attach(adapterName, { plan }, { isTrainable: !plan.config.inferenceMode });
  }

  /**
   * An adapter from tensors in host memory, beside those that are there.
   *
   * @param tensors by their names in files, without PEFT's prefix:
   *   `model.layers.0.self_attn.q_proj.lora_A.weight`
   * @throws as addAdapter
   */
  attachTensors(
    adapterName: string,
    config: PeftConfigInput | Readonly<Record<string, unknown>>,
    tensors: ReadonlyMap<string, HostTensorData>,
  ): void {
    const plan = planFrom(this.used, { ...config }, { label: 'config', isFile: false });
    this.#attach(adapterName, { plan, tensors }, { isTrainable: !plan.config.inferenceMode });
  }

  /**
   * Loads an adapter beside those that are there; `setAdapter` makes it the active one.
   *
   * @throws as fromPretrained
   */
  async loadAdapter(nameOrPath: string, options: LoadAdapterOptions = {}): Promise<void> {
    checkLoadAdapter(options);
    const { adapterName = 'default', isTrainable = false } = options;
    this.#checkFree(adapterName);
    this.#attach(adapterName, await readAdapter(this.base, nameOrPath, options), { isTrainable });
    await this.ready();
  }

  /**
   * A new adapter out of LoRA adapters that the model has: their weighted sum, or a thinned-out
   * one. It is frozen and not active: `setAdapter(adapterName)` once the promise is fulfilled.
   *
   * @example await model.addWeightedAdapter({ adapters: ['math', 'code'], weights: [0.7, 0.3], adapterName: 'both', combinationType: 'dare_ties', density: 0.5 });
   * @throws UNKNOWN_OPTION, INVALID_OPTION, PEFT_COMBINATION, PEFT_ADAPTER_UNKNOWN,
   *   PEFT_ADAPTER_EXISTS
   */
  addWeightedAdapter(options: WeightedAdapterOptions): Promise<void> {
    const made = this.#combine(options);
    this.#making = Promise.allSettled([this.#making, made]);
    return made;
  }

  async #combine(options: WeightedAdapterOptions): Promise<void> {
    parseOptions(weightedAdapterOptions, options, { where: 'addWeightedAdapter' });
    const { adapterName } = options;
    this.#checkFree(adapterName);
    const configs = options.adapters.map((name) => this.attached.get(name).config);
    const { fields, tensors } = await combineAdapters(this.engine, this.root, configs, options);
    if (this.state.isUnloaded)
      throw new AttuneError(
        'PEFT_ADAPTER_UNKNOWN',
        `the adapters were taken off while "${adapterName}" was made of them.`,
        { remedy: 'Await addWeightedAdapter before unload().' },
      );
    this.#checkFree(adapterName);
    this.attachTensors(adapterName, fields, tensors);
  }

  /**
   * A frozen copy of an adapter, beside those that are there and not active: what `withAdapters`
   * makes the reference of a preference loss, where the adapter was trained before. Files do not
   * have it unless they are asked for it: `savePretrained(folder, { selectedAdapters: [copyName]
   * })`.
   *
   * @example await model.copyAdapter('default', 'reference');
   * @throws PEFT_ADAPTER_UNKNOWN, PEFT_ADAPTER_EXISTS, PEFT_ADAPTER_NAME
   */
  override async copyAdapter(name: string, copyName: string): Promise<void> {
    await this.ready();
    const adapter = this.attached.get(name);
    this.#checkFree(copyName);
    const tensors = await hostTensors(adapter);
    const plan = planAdapter(this.used, adapter.method, adapter.config);
    const { source } = adapter;
    const loaded = { plan, tensors, ...(source !== undefined && { source }) };
    this.#attach(copyName, loaded, { isTrainable: false, isCopy: true });
    await this.ready();
  }

  /**
   * Frees an adapter. When it was the only active one, the first of the others becomes active.
   *
   * @throws PEFT_ADAPTER_UNKNOWN, PEFT_MERGED; PEFT_IN_USE within a `withAdapters` that names it
   */
  deleteAdapter(adapterName: string): void {
    this.state.refuseMerged('deleteAdapter');
    this.attached.checkUnused('deleteAdapter', adapterName);
    this.attached.delete(adapterName);
  }

  /**
   * Fulfilled once adapters have their first values: PiSSA and OLoRA read the weights for them, and
   * a model computes as its base until then. A Trainer and savePretrained wait; a training loop of
   * one's own must.
   */
  async ready(): Promise<void> {
    this.state.refuseUnloaded();
    await this.#starting;
  }

  // Merging

  /**
   * Folds the active adapters into the base weights, so that they cost nothing in `forward`. The
   * weights they overwrite are kept on the host until `unmergeAdapter`. Quantised weights are
   * dequantised, added to and quantised again, with a warning.
   *
   * @throws UNKNOWN_OPTION, INVALID_OPTION, PEFT_NO_ADAPTER, PEFT_NOT_MERGEABLE,
   *   PEFT_MERGE_NOT_FINITE, PEFT_MERGED
   */
  async mergeAdapter(options: MergeOptions = {}): Promise<void> {
    const { safeMerge } = parseOptions(mergeOptions, options, { where: 'mergeAdapter' });
    await this.#making;
    await this.ready();
    this.state.refuseMerged('mergeAdapter');
    this.attached.checkUnused('mergeAdapter');
    this.attached.checkActive('mergeAdapter');
    await this.state.merge({ safe: safeMerge });
  }

  /** Takes the adapters out of the base weights again: bit for bit what they were. */
  unmergeAdapter(): void {
    this.state.refuseMerging('unmergeAdapter');
    this.state.unmerge();
  }

  /**
   * Folds the active adapters in for good and gives the plain model back; all adapters are freed,
   * and this PeftModel is not to be used any more.
   *
   * @throws UNKNOWN_OPTION, INVALID_OPTION, PEFT_NO_ADAPTER, PEFT_NOT_MERGEABLE,
   *   PEFT_MERGE_NOT_FINITE; the model is then as before
   */
  async mergeAndUnload(options: MergeAndUnloadOptions = {}): Promise<Base> {
    const place = { where: 'mergeAndUnload' };
    const { safeMerge: safe, dequantize } = parseOptions(mergeAndUnloadOptions, options, place);
    await this.#making;
    await this.ready();
    this.state.refuseMerging('mergeAndUnload');
    this.attached.checkUnused('mergeAndUnload');
    this.attached.checkActive('mergeAndUnload');
    // What was merged is rounded: in full precision it is merged anew.
    if (dequantize !== false) this.unmergeAdapter();
    else if (this.state.isMerged) return this.#detach('mergeAndUnload');
    const dtype = dequantize === true ? storageOf(this.base) : dequantize || null;
    const { weights } = await this.state.fold({ safe, backup: false, dequantize: dtype });
    const base = this.#detach('mergeAndUnload');
    if (dtype) base.dequantize?.({ dtype, weights });
    return base;
  }

  /**
   * Gives the plain model back as it was before the first adapter; all adapters are freed, and this
   * PeftModel is not to be used any more.
   */
  unload(): Base {
    this.attached.checkUnused('unload');
    this.unmergeAdapter();
    return this.#detach('unload');
  }

  // Files

  /**
   * Writes adapter_config.json and adapter_model.safetensors, as PEFT does: the adapter "default"
   * into the folder, others into subfolders of their names. Frozen copies are written where
   * `selectedAdapters` names them. Nothing is written when one of them is refused.
   *
   * @throws PEFT_UNLOADED, PEFT_NO_ADAPTER where there is none to write, PEFT_TRAINED_BESIDE,
   *   PEFT_NOT_PLAIN_LORA, PEFT_NOT_PORTABLE, PEFT_SAVE_MISMATCH, UNKNOWN_OPTION
   */
  override async savePretrained(folder: string, options: SaveAdapterOptions = {}): Promise<void> {
    const place = { where: 'savePretrained', code: 'PEFT_CALL' };
    const parsed = parseOptions(saveAdapterOptions, options, place);
    const { selectedAdapters = this.attached.savedNames } = parsed;
    await this.#making;
    await this.ready();
    this.attached.checkAny('savePretrained');
    if (selectedAdapters.length === 0)
      throw new AttuneError('PEFT_NO_ADAPTER', 'savePretrained: selectedAdapters is empty.', {
        remedy: `Name what to save: ${quoted(this.adapterNames)}.`,
      });
    this.attached.checkNothingBeside();
    await saveAdapters(this.used, this.attached, selectedAdapters, folder, parsed);
  }

  /**
   * Reads the weights of the active adapters back from what `savePretrained` wrote, into the
   * parameters as they are.
   */
  override async loadWeights(folder: string): Promise<void> {
    this.state.refuseMerged('loadWeights');
    await this.ready();
    for (const name of this.activeAdapters)
      await reloadAdapter(this.engine, this.base, this.attached.get(name), name, folder);
  }

  // What these share

  #attach(
    name: string,
    loaded: NewAdapter,
    use: { readonly isTrainable: boolean; readonly isCopy?: boolean },
  ): void {
    this.#checkFree(name);
    this.attached.add(name, loaded, use);
    this.base.adapters = this;
    const starting = this.attached.start(name, loaded.tensors === undefined);
    this.#starting = Promise.all([this.#starting, starting]);
    // Who waits with ready() is told.
    this.#starting.catch(() => {});
  }

  #detach(by: 'mergeAndUnload' | 'unload'): Base {
    this.attached.clear();
    if (this.base.adapters === this) this.base.adapters = null;
    this.state.end(by);
    return this.base;
  }

  #checkFree(name: string): void {
    this.state.refuseMerged('adding an adapter');
    this.attached.checkFree(name);
  }
}

/** How a model's weights are stored, where they are not quantised. */
function storageOf(model: LanguageModel): DequantizedDType {
  const [first] = [...baseModules(model.root)].flatMap(([, slot]) => [
    ...original(slot).ownParameters.values(),
  ]);
  return (first?.dtype ?? 'float32') as DequantizedDType;
}
