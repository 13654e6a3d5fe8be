import {
  type AdapterHost,
  AttuneError,
  type DequantizedDType,
  type GenerativeModel,
  type HostTensorData,
  type JsonValue,
  type LanguageModel,
  type Parameter,
  parseOptions,
  type VirtualTokens,
} from '@attune/core';
import { plainLora } from '../combine/plainLora.js';
import { portableLora } from '../combine/portableLora.js';
import { combineAdapters, type WeightedAdapterOptions } from '../combine/weightedAdapter.js';
import type { PeftConfig } from '../contract/config.js';
import type { PeftMethod } from '../contract/definePeftMethod.js';
import {
  type LoadAdapterOptions,
  type SaveAdapterOptions,
  saveAdapterOptions,
} from '../files/options.js';
import { type NewAdapter, readAdapter } from '../files/readAdapter.js';
import {
  adapterFolder,
  hasAdapter,
  readAdapterConfig,
  readAdapterTensors,
  readEncoder,
  type SavedTensor,
  writeAdapter,
} from '../files/saveLoad.js';
import type { PeftConfigInput } from '../methods/peftConfigInput.js';
import { planAdapter, planFrom } from '../plan/planAdapter.js';
import { AdaptedLinear } from '../slots/adaptedLinear.js';
import { AdapterSwitch, baseModules, original, partsOf } from '../slots/adapterSlot.js';
import { type Backup, type FoldOptions, fold, restore } from '../slots/fold.js';
import { isEncoderIn, PROMPT_EMBEDDINGS, PromptSlot } from '../slots/promptSlot.js';
import { BASE_ROW } from '../slots/rowAdapters.js';
import { checkAdapterPath, checkBase, checkConfig } from './checkCall.js';
import { finallyDo } from './finallyDo.js';
import { extract, inject, writeInto } from './inject.js';
import type { MergeAndUnloadOptions, MergeOptions } from './mergeOptions.js';
import { type BaseOf, WrappedModel } from './wrappedModel.js';

interface AttachedAdapter {
  readonly method: PeftMethod;
  readonly config: PeftConfig;
  readonly trainable: boolean;
  /** What is trained of it while it is active. */
  readonly parameters: readonly Parameter[];
  /** The file that its config came from; undefined: made here. */
  readonly source: JsonValue | undefined;
}

/**
 * A language model with adapters. Its modules are wrapped in place: the base model given to it
 * computes with the adapters too, and there is one PeftModel for a base.
 */
export class PeftModel<Base extends LanguageModel = GenerativeModel>
  extends WrappedModel<Base>
  implements AdapterHost
{
  readonly #switch = new AdapterSwitch();
  readonly #attached = new Map<string, AttachedAdapter>();
  /** What was trainable before the first adapter; so again after the last. */
  #trainableBefore: ReadonlySet<Parameter> = new Set();
  #backup: Backup = [];
  /** Adapters that are being made of others: what changes all of them waits. */
  #making: Promise<unknown> = Promise.resolve();
  /** First values that are being computed. */
  #starting: Promise<unknown> = Promise.resolve();
  /** What took the adapters off for good, or is about to. */
  #unloadedBy: 'mergeAndUnload' | 'unload' | null = null;
  /** While adapters are being folded in. */
  #merging = false;

  private constructor(base: Base) {
    super(base);
  }

  /** The PeftModel of a model: the one that it has, or a new one without adapters. @throws PEFT_OTHER_HOST */
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
   * @param nameOrPath a folder with adapter_config.json and adapter_model.safetensors, or a Hub id ("owner/name"), which is
   *   fetched once into Hugging Face's cache; a folder of that name comes first
   * @throws HUB_NOT_FOUND, HUB_ACCESS, HUB_UNREACHABLE, PEFT_ADAPTER_MISSING, PEFT_ADAPTER_INCOMPLETE, PEFT_OTHER_BASE, PEFT_BASE_CHANGED, PEFT_TYPE_UNKNOWN,
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
    host.#attach(adapterName, loaded, isTrainable);
    host.setAdapter(adapterName);
    await host.ready();
    return host;
  }

  /** Itself: how the Trainer finds the adapters. @throws PEFT_UNLOADED */
  get adapters(): AdapterHost {
    this.#refuseUnloaded();
    return this;
  }

  /** @throws PEFT_UNLOADED */
  protected override get used(): Base {
    this.#refuseUnloaded();
    return this.base;
  }

  // Adapters

  /** Names of all adapters, in the order in which they came. */
  get adapterNames(): readonly string[] {
    return [...this.#attached.keys()];
  }

  get activeAdapters(): readonly string[] {
    return this.#switch.active;
  }

  /** The parsed config of each adapter. */
  get peftConfig(): Readonly<Record<string, PeftConfig>> {
    return Object.fromEntries([...this.#attached].map(([name, { config }]) => [name, config]));
  }

  /**
   * Adds a new adapter beside those that are there; `setAdapter` makes it the active one.
   *
   * @throws PEFT_CONFIG_INVALID, PEFT_NO_TARGET, PEFT_ADAPTER_EXISTS
   */
  addAdapter(adapterName: string, config: PeftConfigInput): void {
    checkConfig('addAdapter', config);
    const plan = planFrom(this.used, { ...config }, { label: 'peftConfig', isFile: false });
    this.#attach(adapterName, { plan }, !plan.config.inferenceMode);
  }

  /**
   * An adapter from tensors in host memory, beside those that are there.
   *
   * @param tensors by their names in files, without PEFT's prefix: `model.layers.0.self_attn.q_proj.lora_A.weight`
   * @throws as addAdapter
   */
  attachTensors(
    adapterName: string,
    config: PeftConfigInput | Readonly<Record<string, unknown>>,
    tensors: ReadonlyMap<string, HostTensorData>,
  ): void {
    const plan = planFrom(this.used, { ...config }, { label: 'config', isFile: false });
    this.#attach(adapterName, { plan, tensors }, !plan.config.inferenceMode);
  }

  /** Loads an adapter beside those that are there; `setAdapter` makes it the active one. @throws as fromPretrained */
  async loadAdapter(nameOrPath: string, options: LoadAdapterOptions = {}): Promise<void> {
    const { adapterName = 'default', isTrainable = false } = options;
    this.#checkFree(adapterName);
    this.#attach(adapterName, await readAdapter(this.base, nameOrPath, options), isTrainable);
    await this.ready();
  }

  /**
   * A new adapter out of LoRA adapters that the model has: their weighted sum, or a thinned-out one. It is
   * frozen and not active: `setAdapter(adapterName)` once the promise is fulfilled.
   *
   * @example await model.addWeightedAdapter({ adapters: ['math', 'code'], weights: [0.7, 0.3], adapterName: 'both', combinationType: 'dare_ties', density: 0.5 });
   * @throws PEFT_COMBINATION, PEFT_ADAPTER_UNKNOWN, PEFT_ADAPTER_EXISTS
   */
  addWeightedAdapter(options: WeightedAdapterOptions): Promise<void> {
    const made = this.#combine(options);
    this.#making = Promise.allSettled([this.#making, made]);
    return made;
  }

  async #combine(options: WeightedAdapterOptions): Promise<void> {
    const { adapterName } = options;
    this.#checkFree(adapterName);
    const configs = options.adapters.map((name) => this.#get(name).config);
    const { fields, tensors } = await combineAdapters(this.engine, this.root, configs, options);
    if (this.#unloadedBy)
      throw new AttuneError(
        'PEFT_ADAPTER_UNKNOWN',
        `the adapters were taken off while "${adapterName}" was made of them.`,
        { remedy: 'Await addWeightedAdapter before unload().' },
      );
    this.#checkFree(adapterName);
    this.attachTensors(adapterName, fields, tensors);
  }

  /**
   * Chooses which adapters compute: one, or several whose effects add up. No weight is copied.
   *
   * An adapter that was made here or loaded with `isTrainable` is trained while it is active; one that
   * was loaded for inference stays frozen (PEFT would unfreeze it).
   *
   * @throws PEFT_ADAPTER_UNKNOWN, PEFT_MERGED, PEFT_CONFLICT
   */
  setAdapter(adapterNames: string | readonly string[]): void {
    this.#refuseMerged('setAdapter');
    const names = typeof adapterNames === 'string' ? [adapterNames] : [...adapterNames];
    const prompts = names.filter((name) => this.#get(name).method.prompt);
    if (prompts.length > 1)
      throw new AttuneError(
        'PEFT_CONFLICT',
        `setAdapter: ${prompts.map((name) => `"${name}"`).join(' and ')} both give virtual tokens.`,
        { remedy: 'Activate one of them; adapters of layers may be active beside it.' },
      );
    this.#switch.active = names;
    this.#markTrainable();
  }

  /** What the Trainer multiplies its learning rate by for a parameter of an active adapter: LoRA+. */
  learningRateScale(parameter: Parameter, learningRate: number): number {
    this.#refuseUnloaded();
    for (const adapter of this.#switch.active) {
      const { method, config } = this.#get(adapter);
      for (const [name, own] of this.#parametersOf(adapter))
        if (own === parameter)
          return method.lrScale?.({ name, shape: own.shape }, config, learningRate) ?? 1;
    }
    return 1;
  }

  /** Frees an adapter. When it was the only active one, the first of the others becomes active. */
  deleteAdapter(adapterName: string): void {
    this.#refuseMerged('deleteAdapter');
    this.#get(adapterName);
    for (const slot of partsOf(this.root)) slot.removeAdapter(adapterName);
    this.#attached.delete(adapterName);
    const left = this.#switch.active.filter((name) => name !== adapterName);
    this.#switch.active = left.length > 0 ? left : this.adapterNames.slice(0, 1);
    this.#markTrainable();
  }

  /**
   * Runs `fn` with the base model alone, trained biases and modulesToSave included. Until an async
   * `fn` settles, everybody who uses the model sees the base.
   *
   * @throws PEFT_MERGED
   */
  withAdaptersDisabled<T>(fn: () => T): T {
    this.#refuseMerged('withAdaptersDisabled');
    this.#switch.disabled++;
    return finallyDo(fn, () => {
      this.#switch.disabled--;
    });
  }

  /**
   * Runs `fn` with an adapter of its own for each row of every batch: PEFT's `adapter_names`. Rows that are neighbours and
   * have one adapter compute together, so a batch sorted by adapter is the fastest. For inference. Until an async `fn`
   * settles, everybody who uses the model has these rows. `generate({ adapterNames })` does it by itself.
   *
   * @param names one for each row; "__base__": the base alone
   * @throws PEFT_ADAPTER_UNKNOWN, PEFT_MERGED; PEFT_ROWS for adapters that train whole modules or biases or give virtual tokens, while training,
   *   and for a batch of another size
   */
  withAdapterPerRow<T>(names: readonly string[], fn: () => T): T {
    this.#refuseMerged('withAdapterPerRow');
    const refuse = (found: string, remedy: string) => {
      throw new AttuneError('PEFT_ROWS', found, { remedy });
    };
    if (this.#switch.rows)
      refuse('the rows of this model have adapters already.', 'Await the other call first.');
    for (const name of new Set(names)) {
      if (name === BASE_ROW) continue;
      this.#get(name);
      const parts = partsOf(this.root).filter((part) => part.parametersOf(name).size > 0);
      const other = parts.find((part) => !(part instanceof AdaptedLinear));
      const does =
        other instanceof PromptSlot ? 'gives virtual tokens' : `trains ${other?.path} itself`;
      if (other || parts.length === 0)
        refuse(
          `"${name}" (${this.#get(name).method.peftType}) ${other ? does : 'adapts no layers'}, which is one for the whole batch.`,
          'Run its rows by themselves, with setAdapter.',
        );
    }
    this.#switch.rows = [...names];
    return finallyDo(fn, () => {
      this.#switch.rows = null;
    });
  }

  /**
   * Fulfilled once adapters have their first values: PiSSA and OLoRA read the weights for them, and a model
   * computes as its base until then. A Trainer and savePretrained wait; a training loop of one's own must.
   */
  async ready(): Promise<void> {
    this.#refuseUnloaded();
    await this.#starting;
  }

  /**
   * What a Trainer asks before it trains: that something is learned, and that what is learned is in what is saved.
   *
   * @throws PEFT_UNLOADED, PEFT_MERGED, PEFT_NO_ADAPTER, PEFT_TRAINED_BESIDE
   */
  checkTraining({ saves }: { readonly saves: boolean }): void {
    this.#refuseMerged('training');
    this.#checkActive('training');
    if (saves) this.#checkNothingBeside();
  }

  // Merging

  /**
   * Folds the active adapters into the base weights, so that they cost nothing in `forward`. The
   * weights they overwrite are kept on the host until `unmergeAdapter`. Weights of 4 or 8 bits are dequantised,
   * added to and quantised again, with a warning.
   *
   * @throws PEFT_NO_ADAPTER, PEFT_NOT_MERGEABLE, PEFT_MERGE_NOT_FINITE, PEFT_MERGED
   */
  async mergeAdapter({ safeMerge = false }: MergeOptions = {}): Promise<void> {
    await this.#making;
    await this.ready();
    this.#refuseMerged('mergeAdapter');
    this.#checkActive('mergeAdapter');
    const { active } = this.#switch;
    this.#backup = (await this.#fold({ safe: safeMerge, backup: true })).backup;
    this.#switch.merged = active;
  }

  /** Nobody else changes the weights or the adapters while this waits for the device. */
  async #fold(options: Omit<FoldOptions, 'logger'>) {
    const { engine, root } = this;
    const { logger } = this.attune;
    this.#merging = true;
    try {
      return await fold(engine, root, this.#switch.active, { ...options, logger });
    } finally {
      this.#merging = false;
    }
  }

  /** Takes the adapters out of the base weights again: bit for bit what they were. */
  unmergeAdapter(): void {
    this.#refuseMerging('unmergeAdapter');
    restore(this.#backup);
    this.#backup = [];
    this.#switch.merged = [];
  }

  /**
   * Folds the active adapters in for good and gives the plain model back; all adapters are freed, and this PeftModel
   * is not to be used any more.
   *
   * @throws PEFT_NO_ADAPTER, PEFT_NOT_MERGEABLE, PEFT_MERGE_NOT_FINITE; the model is then as before
   */
  async mergeAndUnload(options: MergeAndUnloadOptions = {}): Promise<Base> {
    const { safeMerge: safe = false, dequantize = false } = options;
    await this.#making;
    await this.ready();
    this.#refuseMerging('mergeAndUnload');
    this.#checkActive('mergeAndUnload');
    // What was merged is rounded: in full precision it is merged anew.
    if (dequantize !== false) this.unmergeAdapter();
    else if (this.#switch.merged.length > 0) return this.#detach('mergeAndUnload');
    const dtype = dequantize === true ? storageOf(this.base) : dequantize || null;
    const { weights } = await this.#fold({ safe, backup: false, dequantize: dtype });
    const base = this.#detach('mergeAndUnload');
    if (dtype) base.dequantize?.({ dtype, weights });
    return base;
  }

  /**
   * Gives the plain model back as it was before the first adapter; all adapters are freed, and this PeftModel is not to
   * be used any more.
   */
  unload(): Base {
    this.unmergeAdapter();
    return this.#detach('unload');
  }

  // Files

  /**
   * Writes adapter_config.json and adapter_model.safetensors, as PEFT does: the adapter "default" into
   * the folder, others into subfolders of their names. Nothing is written when one of them is refused.
   *
   * @throws PEFT_UNLOADED, PEFT_NO_ADAPTER where there is none to write, PEFT_TRAINED_BESIDE, PEFT_NOT_PLAIN_LORA, PEFT_NOT_PORTABLE,
   *   PEFT_SAVE_MISMATCH, UNKNOWN_OPTION
   */
  async savePretrained(folder: string, options: SaveAdapterOptions = {}): Promise<void> {
    const place = { where: 'savePretrained', code: 'PEFT_CALL' };
    const parsed = parseOptions(saveAdapterOptions, options, place);
    const { selectedAdapters = this.adapterNames, verify } = parsed;
    await this.#making;
    await this.ready();
    this.#checkAny('savePretrained');
    if (selectedAdapters.length === 0)
      throw new AttuneError('PEFT_NO_ADAPTER', 'savePretrained: selectedAdapters is empty.', {
        remedy: `Name what to save: ${this.adapterNames.map((n) => `"${n}"`).join(', ')}.`,
      });
    this.#checkNothingBeside();
    const parts = partsOf(this.root).reverse();
    const toWrite = [];
    for (const name of selectedAdapters) {
      const { method, config, source: like } = this.#get(name);
      const tensors = this.#filesOf(name);
      const saved = options.portable
        ? await portableLora(parts, { name, method, config, tensors })
        : options.plainLora
          ? await plainLora(parts, name, config)
          : { config, tensors };
      toWrite.push({ path: adapterFolder(folder, name), method, like, ...saved });
    }
    for (const { path, method, config, tensors, like } of toWrite)
      await writeAdapter(path, method, config, tensors, { verify, like });
  }

  /** Reads the weights of the active adapters back from what `savePretrained` wrote, into the parameters as they are. */
  async loadWeights(folder: string): Promise<void> {
    this.#refuseMerged('loadWeights');
    await this.ready();
    for (const name of this.#switch.active) {
      const { method, config } = this.#get(name);
      const own = adapterFolder(folder, name);
      const from = (await hasAdapter(own)) ? own : folder;
      await readAdapterConfig(from);
      const plan = planAdapter(this.base, method, config);
      const held = this.#savedOf(name);
      const tensors = await readAdapterTensors(from, plan, this);
      const encoder = isEncoderIn(held.keys()) ? await readEncoder(from, plan) : new Map();
      for (const [key, parameter] of held)
        writeInto(this.engine, parameter, (encoder.get(key) ?? tensors.get(key))!);
    }
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

  // What these share

  #attach(name: string, { plan, tensors, source }: NewAdapter, trainable: boolean): void {
    this.#checkFree(name);
    if (this.#attached.size === 0) {
      const parameters = [...this.root.namedParameters()].map(([, p]) => p);
      this.#trainableBefore = new Set(parameters.filter((p) => p.trainable));
    }
    inject(this.engine, this.root, plan, name, this.#switch, tensors);
    const config = { ...plan.config, inferenceMode: !trainable };
    const parameters = trainable ? [...this.#parametersOf(name).values()] : [];
    this.#attached.set(name, { method: plan.method, config, trainable, parameters, source });
    for (const [, parameter] of this.root.namedParameters())
      if (parameter.trainable) parameter.trainable = false;
    this.base.adapters = this;
    if (this.#switch.active.length === 0) this.#switch.active = [name];
    this.#markTrainable();
    const starting = this.#start(name, tensors === undefined);
    this.#starting = Promise.all([this.#starting, starting]);
    // Who waits with ready() is told.
    this.#starting.catch(() => {});
  }

  async #start(name: string, isNew: boolean): Promise<void> {
    for (const part of partsOf(this.root))
      if (part instanceof AdaptedLinear || part instanceof PromptSlot)
        await part.start(name, isNew);
  }

  /** Everything is frozen but the active adapters that are for training; the base is since the first came. */
  #markTrainable(): void {
    for (const [name, { parameters }] of this.#attached) {
      const should = this.#switch.active.includes(name);
      for (const parameter of parameters)
        if (parameter.trainable !== should) parameter.trainable = should;
    }
  }

  #detach(by: 'mergeAndUnload' | 'unload'): Base {
    extract(this.root, this.adapterNames);
    for (const parameter of this.#trainableBefore) parameter.trainable = true;
    this.#attached.clear();
    this.#switch.active = [];
    this.#switch.merged = [];
    this.#backup = [];
    if (this.base.adapters === this) this.base.adapters = null;
    this.#unloadedBy = by;
    return this.base;
  }

  #parametersOf(name: string): Map<string, Parameter> {
    // partsOf is innermost first; files are sorted anyway, people read them in the model's order.
    return new Map(
      partsOf(this.root)
        .reverse()
        .flatMap((slot) => [...slot.parametersOf(name)]),
    );
  }

  /** What the adapter trains, and what it saves beside that. */
  #savedOf(name: string): Map<string, Parameter> {
    const frozen = partsOf(this.root).flatMap((slot) => [...slot.frozenOf(name)]);
    return new Map([...this.#parametersOf(name), ...frozen]);
  }

  /** What of the adapter goes into files: with an encoder, what it gives as well. */
  #filesOf(name: string): Map<string, SavedTensor> {
    const held = new Map<string, SavedTensor>(this.#savedOf(name));
    if (isEncoderIn(held.keys())) held.set(PROMPT_EMBEDDINGS, PromptSlot.of(this.root)!.made(name));
    return held;
  }

  #get(name: string): AttachedAdapter {
    const found = this.#attached.get(name);
    if (found) return found;
    throw new AttuneError('PEFT_ADAPTER_UNKNOWN', `there is no adapter "${name}".`, {
      remedy: `Adapters: ${this.adapterNames.map((n) => `"${n}"`).join(', ') || 'none'}.`,
    });
  }

  #checkFree(name: string): void {
    this.#refuseMerged('adding an adapter');
    if (!/^[\w-]+$/.test(name))
      throw new AttuneError('PEFT_ADAPTER_NAME', `"${name}" cannot name an adapter.`, {
        remedy: 'Use letters, digits, "_" and "-": the name becomes part of paths.',
      });
    if (!this.#attached.has(name)) return;
    throw new AttuneError(
      'PEFT_ADAPTER_EXISTS',
      `the model has an adapter "${name}" already (${this.#get(name).method.peftType}).`,
      {
        remedy:
          'Give another adapterName, or take the old one off first: deleteAdapter(name), unload(), or mergeAndUnload().',
      },
    );
  }

  get #baseName(): string {
    return this.nameOrPath || `a ${this.config.modelType} made from a config`;
  }

  #refuseUnloaded(): void {
    const by = this.#unloadedBy;
    if (!by) {
      const { adapters } = this.base;
      if (adapters === null || adapters === this) return;
      throw new AttuneError(
        'PEFT_OTHER_HOST',
        `${this.#baseName} has got the adapters of another PeftModel, after this one was made of it.`,
        { remedy: 'Use that one: PeftModel.on(model) gives it.' },
      );
    }
    throw new AttuneError(
      'PEFT_UNLOADED',
      `${by}() took the adapters off this PeftModel of ${this.#baseName}: there is nothing left of it to train, run or save.`,
      {
        remedy: `Use the model that ${by}() returned (it is \`base\` of this one); getPeftModel gives that new adapters.`,
      },
    );
  }

  /** Without an adapter, weights are trained that no file of adapters would hold. */
  #checkAny(what: string): void {
    if (this.#attached.size > 0) return;
    throw new AttuneError('PEFT_NO_ADAPTER', `${what}: this PeftModel has no adapter.`, {
      remedy:
        'Add one with addAdapter or loadAdapter; or use the model without adapters, which unload() gives.',
    });
  }

  #checkActive(what: string): void {
    this.#checkAny(what);
    if (this.#switch.active.length > 0) return;
    throw new AttuneError('PEFT_NO_ADAPTER', `${what}: no adapter is active.`, {
      remedy: `Call setAdapter first: ${this.adapterNames.map((n) => `"${n}"`).join(', ')}.`,
    });
  }

  /** What is trained of the base itself is in no file of an adapter. */
  #checkNothingBeside(): void {
    const own = new Set([...this.#attached].flatMap(([, { parameters }]) => parameters));
    const beside = [...this.root.namedParameters()].filter(
      ([, parameter]) => parameter.trainable && !own.has(parameter),
    );
    if (beside.length === 0) return;
    throw new AttuneError(
      'PEFT_TRAINED_BESIDE',
      `${beside[0]![0]}${beside.length > 1 ? ` and ${beside.length - 1} more parameters` : ''} of the base ${beside.length > 1 ? 'are' : 'is'} trainable, but an adapter's files hold the adapter alone.`,
      {
        remedy:
          'Name the modules in modulesToSave, or freeze these parameters. To train all of them and save the whole model, use the model without adapters.',
      },
    );
  }

  #refuseMerging(what: string): void {
    this.#refuseUnloaded();
    if (!this.#merging) return;
    throw new AttuneError('PEFT_MERGED', `${what}: adapters are being merged.`, {
      remedy: 'Await mergeAdapter() or mergeAndUnload() first.',
    });
  }

  #refuseMerged(what: string): void {
    this.#refuseMerging(what);
    if (this.#switch.merged.length === 0) return;
    throw new AttuneError(
      'PEFT_MERGED',
      `${what}: ${this.#switch.merged.map((n) => `"${n}"`).join(', ')} ${this.#switch.merged.length > 1 ? 'are' : 'is'} merged into the base weights.`,
      { remedy: 'Call unmergeAdapter() first.' },
    );
  }
}

/**
 * Freezes a model and adds a new, trainable adapter to it, which becomes the active one.
 *
 * @param config e.g. `{ peftType: 'LORA', r: 16, loraAlpha: 32, targetModules: 'all-linear' }`, in PEFT's names
 * @throws PEFT_CONFIG_INVALID, PEFT_NO_TARGET, PEFT_TYPE_UNKNOWN, PEFT_ADAPTER_EXISTS
 */
export function getPeftModel<M extends LanguageModel>(
  model: M,
  config: PeftConfigInput,
  adapterName = 'default',
): PeftModel<BaseOf<M>> {
  checkBase('getPeftModel', model);
  checkConfig('getPeftModel', config);
  const host = PeftModel.on(model);
  host.addAdapter(adapterName, config);
  host.setAdapter(adapterName);
  return host;
}

/** How a model's weights are stored, where they are not quantised. */
function storageOf(model: LanguageModel): DequantizedDType {
  const [first] = [...baseModules(model.root)].flatMap(([, slot]) => [
    ...original(slot).ownParameters.values(),
  ]);
  return (first?.dtype ?? 'float32') as DequantizedDType;
}
