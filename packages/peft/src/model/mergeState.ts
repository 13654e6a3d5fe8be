import { type AdapterHost, AttuneError, type LanguageModel } from '@attune/core';
import type { AdapterSwitch } from '../slots/adapterSlot.js';
import { type Backup, type Folded, type FoldOptions, fold, restore } from '../slots/fold.js';
import { quoted } from './attachedAdapters.js';

type Unloading = 'mergeAndUnload' | 'unload';

/**
 * Where the adapters of a model are: beside the base, being folded into it, folded in, or gone.
 * Each `refuse...` says what cannot be done then.
 */
export class MergeState {
  /** While adapters are being folded in. */
  #isMerging = false;
  /** What the last merge overwrote. */
  #backup: Backup = [];
  /** What took the adapters off for good. */
  #unloadedBy: Unloading | null = null;

  constructor(
    private readonly base: LanguageModel,
    private readonly host: AdapterHost,
    private readonly state: AdapterSwitch,
  ) {}

  get isUnloaded(): boolean {
    return this.#unloadedBy !== null;
  }

  get isMerged(): boolean {
    return this.state.merged.length > 0;
  }

  /** Folds the active adapters in until `unmerge`. */
  async merge(options: Pick<FoldOptions, 'safe'>): Promise<void> {
    const { active } = this.state;
    this.#backup = (await this.fold({ ...options, backup: true })).backup;
    this.state.merged = active;
  }

  /** Nobody else changes the weights or the adapters while this waits for the device. */
  async fold(options: Omit<FoldOptions, 'logger'>): Promise<Folded> {
    const { engine, root, attune } = this.base;
    this.#isMerging = true;
    try {
      return await fold(engine, root, this.state.active, { ...options, logger: attune.logger });
    } finally {
      this.#isMerging = false;
    }
  }

  /** Puts back what the merge overwrote; nothing where nothing is merged. */
  unmerge(): void {
    restore(this.#backup);
    this.#backup = [];
    this.state.merged = [];
  }

  /** There are no adapters any more. */
  end(by: Unloading): void {
    this.#backup = [];
    this.#unloadedBy = by;
  }

  /** @throws PEFT_UNLOADED, PEFT_OTHER_HOST */
  refuseUnloaded(): void {
    const by = this.#unloadedBy;
    const { nameOrPath, config, adapters } = this.base;
    const baseName = nameOrPath || `a ${config.modelType} made from a config`;
    if (by)
      throw new AttuneError(
        'PEFT_UNLOADED',
        `${by}() took the adapters off this PeftModel of ${baseName}: there is nothing left of it to train, run or save.`,
        {
          remedy: `Use the model that ${by}() returned (it is \`base\` of this one); getPeftModel gives that new adapters.`,
        },
      );
    if (adapters === null || adapters === this.host) return;
    throw new AttuneError(
      'PEFT_OTHER_HOST',
      `${baseName} has got the adapters of another PeftModel, after this one was made of it.`,
      { remedy: 'Use that one: PeftModel.on(model) gives it.' },
    );
  }

  /** @throws PEFT_MERGED, and as refuseUnloaded */
  refuseMerging(what: string): void {
    this.refuseUnloaded();
    if (!this.#isMerging) return;
    throw new AttuneError('PEFT_MERGED', `${what}: adapters are being merged.`, {
      remedy: 'Await mergeAdapter() or mergeAndUnload() first.',
    });
  }

  /** @throws PEFT_MERGED, and as refuseUnloaded */
  refuseMerged(what: string): void {
    this.refuseMerging(what);
    const { merged } = this.state;
    if (merged.length === 0) return;
    throw new AttuneError(
      'PEFT_MERGED',
      `${what}: ${quoted(merged)} ${merged.length > 1 ? 'are' : 'is'} merged into the base weights.`,
      { remedy: 'Call unmergeAdapter() first.' },
    );
  }
}
