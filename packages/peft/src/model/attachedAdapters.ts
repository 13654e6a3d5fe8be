import { AttuneError, type LanguageModel } from '@attune/core';
import type { Parameter } from '@attune/core/nn';
import type { JsonValue } from '@attune/core/util';
import type { PeftConfig } from '../contract/config.js';
import type { PeftMethod } from '../contract/methodKinds.js';
import type { NewAdapter } from '../files/readAdapter.js';
import { AdaptedLinear } from '../slots/adaptedLinear.js';
import { AdapterSwitch, type AttachedParameter, partsOf } from '../slots/adapterSlot.js';
import { PromptSlot } from '../slots/promptSlot.js';
import { extract, inject } from './inject.js';

export interface AttachedAdapter {
  readonly method: PeftMethod;
  readonly config: PeftConfig;
  readonly isTrainable: boolean;
  /** All its tensors in the model, each once. */
  readonly held: readonly AttachedParameter[];
  /** The file that its config came from; undefined: made here. */
  readonly source: JsonValue | undefined;
  /** A frozen copy of another one: a reference, which belongs to a run and not to its result. */
  readonly isCopy: boolean;
}

/** What an adapter is for. */
interface AdapterUse {
  readonly isTrainable: boolean;
  /** Default false. */
  readonly isCopy?: boolean;
}

/**
 * The adapters of a model: which there are, which compute, and which parameters are trained by
 * that.
 */
export class AttachedAdapters {
  readonly switch = new AdapterSwitch();
  readonly #all = new Map<string, AttachedAdapter>();
  /** What was trainable before the first adapter; so again after the last. */
  #trainableBefore: ReadonlySet<Parameter> = new Set();

  constructor(private readonly base: LanguageModel) {}

  /** In the order in which they came. */
  get names(): readonly string[] {
    return [...this.#all.keys()];
  }

  /** Those that are written where nobody says which: all but frozen copies, if there are others. */
  get savedNames(): readonly string[] {
    const own = this.names.filter((name) => !this.get(name).isCopy);
    return own.length > 0 ? own : this.names;
  }

  get configs(): Readonly<Record<string, PeftConfig>> {
    return Object.fromEntries([...this.#all].map(([name, { config }]) => [name, config]));
  }

  /** @throws PEFT_ADAPTER_UNKNOWN */
  get(name: string): AttachedAdapter {
    const found = this.#all.get(name);
    if (found) return found;
    throw new AttuneError('PEFT_ADAPTER_UNKNOWN', `there is no adapter "${name}".`, {
      remedy: `Adapters: ${quoted(this.names) || 'none'}.`,
    });
  }

  /** Puts an adapter into the model. The first one freezes everything else. */
  add(
    name: string,
    { plan, tensors, source }: NewAdapter,
    { isTrainable, isCopy = false }: AdapterUse,
  ): void {
    const { engine, root } = this.base;
    const parameters = () => [...root.namedParameters()].map(([, parameter]) => parameter);
    if (this.#all.size === 0)
      this.#trainableBefore = new Set(parameters().filter((parameter) => parameter.trainable));
    const held = inject(engine, root, plan, name, this.switch, tensors);
    const config = { ...plan.config, inferenceMode: !isTrainable };
    this.#all.set(name, { method: plan.method, config, isTrainable, held, source, isCopy });
    for (const parameter of parameters()) if (parameter.trainable) parameter.trainable = false;
    if (this.switch.active.length === 0) this.switch.active = [name];
    this.#markTrainable();
  }

  /** Computes and writes first values that take the host. */
  async start(name: string, isNew: boolean): Promise<void> {
    for (const part of partsOf(this.base.root))
      if (part instanceof AdaptedLinear || part instanceof PromptSlot)
        await part.start(name, isNew);
  }

  /** @throws PEFT_ADAPTER_UNKNOWN, PEFT_CONFLICT */
  activate(names: readonly string[]): void {
    this.checkTogether('setAdapter', names);
    this.switch.active = names;
    this.#markTrainable();
  }

  /** Whether these can compute together. @throws PEFT_ADAPTER_UNKNOWN, PEFT_CONFLICT */
  checkTogether(caller: string, names: readonly string[]): void {
    const prompts = names.filter((name) => this.get(name).method.kind === 'prompt');
    if (prompts.length < 2) return;
    throw new AttuneError(
      'PEFT_CONFLICT',
      `${caller}: ${prompts.map((name) => `"${name}"`).join(' and ')} both give virtual tokens.`,
      { remedy: 'Activate one of them; adapters of layers may be active beside it.' },
    );
  }

  /**
   * Whether adapters can go: not while a call computes with them, which would go on without.
   *
   * @param name the one that goes; undefined: all, or into the base
   * @throws PEFT_IN_USE
   */
  checkUnused(caller: string, name?: string): void {
    const call = this.switch.open.find(({ names }) => name === undefined || names.includes(name));
    if (!call) return;
    const by = call.isPerRow ? 'withAdapterPerRow' : 'withAdapters';
    throw new AttuneError('PEFT_IN_USE', `${caller}: ${by}([${quoted(call.names)}]) is open.`, {
      remedy: 'Do it behind that call; await the call where its function is async.',
    });
  }

  /** Frees an adapter. When it was the only active one, the first of the others becomes active. */
  delete(name: string): void {
    this.get(name);
    for (const slot of partsOf(this.base.root)) slot.removeAdapter(name);
    this.#all.delete(name);
    const left = this.switch.active.filter((active) => active !== name);
    this.switch.active = left.length > 0 ? left : this.names.slice(0, 1);
    this.#markTrainable();
  }

  /** Frees all of them, and what was trainable before the first is so again. */
  clear(): void {
    extract(this.base.root, this.names);
    for (const parameter of this.#trainableBefore) parameter.trainable = true;
    this.#all.clear();
    this.switch.active = [];
    this.switch.merged = [];
  }

  /** LoRA+: the factor on the learning rate of a parameter of an active adapter. */
  learningRateScale(parameter: Parameter, learningRate: number): number {
    for (const active of this.switch.active) {
      const { method, config, held } = this.get(active);
      const own = held.find((one) => one.isTrained && one.parameter === parameter);
      if (!own) continue;
      const { shape } = parameter;
      return method.lrScale?.({ name: own.fileName!, shape }, config, learningRate) ?? 1;
    }
    return 1;
  }

  /** Whether a new adapter may be called so. @throws PEFT_ADAPTER_NAME, PEFT_ADAPTER_EXISTS */
  checkFree(name: string): void {
    if (!/^[\w-]+$/.test(name))
      throw new AttuneError('PEFT_ADAPTER_NAME', `"${name}" cannot name an adapter.`, {
        remedy: 'Use letters, digits, "_" and "-": the name becomes part of paths.',
      });
    const taken = this.#all.get(name);
    if (!taken) return;
    throw new AttuneError(
      'PEFT_ADAPTER_EXISTS',
      `the model has an adapter "${name}" already (${taken.method.peftType}).`,
      {
        remedy:
          'Give another adapterName, or take the old one off first: deleteAdapter(name), unload(), or mergeAndUnload().',
      },
    );
  }

  /**
   * Without an adapter, weights are trained that no file of adapters would hold.
   *
   * @throws PEFT_NO_ADAPTER
   */
  checkAny(what: string): void {
    if (this.#all.size > 0) return;
    throw new AttuneError('PEFT_NO_ADAPTER', `${what}: this PeftModel has no adapter.`, {
      remedy:
        'Add one with addAdapter or loadAdapter; or use the model without adapters, which unload() gives.',
    });
  }

  /** @throws PEFT_NO_ADAPTER */
  checkActive(what: string): void {
    this.checkAny(what);
    if (this.switch.active.length > 0) return;
    throw new AttuneError('PEFT_NO_ADAPTER', `${what}: no adapter is active.`, {
      remedy: `Call setAdapter first: ${quoted(this.names)}.`,
    });
  }

  /** What is trained of the base itself is in no file of an adapter. @throws PEFT_TRAINED_BESIDE */
  checkNothingBeside(): void {
    const own = new Set([...this.#all.values()].flatMap(trainedBy));
    const beside = [...this.base.root.namedParameters()].filter(
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

  /**
   * Everything is frozen but the active adapters that are for training; the base is since the first
   * came.
   */
  #markTrainable(): void {
    for (const [name, adapter] of this.#all) {
      const should = this.switch.active.includes(name);
      for (const parameter of trainedBy(adapter))
        if (parameter.trainable !== should) parameter.trainable = should;
    }
  }
}

/** What is trained of an adapter while it is active. */
const trainedBy = ({ isTrainable, held }: AttachedAdapter): Parameter[] =>
  isTrainable ? held.filter((own) => own.isTrained).map(({ parameter }) => parameter) : [];

/** "a", "b" */
export const quoted = (names: readonly string[]): string =>
  names.map((name) => `"${name}"`).join(', ');
