import {
  type AdapterHost,
  AttuneError,
  frozenCopy,
  inference,
  type LanguageModel,
  type Logger,
} from '@attune/core';
import { checkOther } from './otherModel.js';

/**
 * What an objective compares the model with:
 * - 'base': the model with its adapters off. There is no second copy of anything.
 * - 'initial': the model as it is when the trainer is made: a frozen copy of its adapter, or of all
 *   weights where it has none.
 * - another model of the same vocabulary on the same Attune.
 * - `{ precomputed: path }`: log-probabilities of 'base' or 'initial', computed once for each row
 *   and kept in a file: the path where it ends in .jsonl, else one in that folder.
 */
export type ReferenceChoice = 'base' | 'initial' | LanguageModel | { readonly precomputed: string };

/** The choices that compute: what `precomputed` keeps is of one of them. */
type Computing = Exclude<ReferenceChoice, { readonly precomputed: string }>;

/** A frozen copy of an adapter is called so. TRL calls it "ref". */
const COPY = 'reference';

/** A reference model, ready to be recorded. */
export class Reference {
  #copy: LanguageModel | null = null;
  /** Names of frozen copies of adapters. */
  readonly #copies: string[] = [];
  #isReady = false;

  private constructor(
    private readonly model: LanguageModel,
    private readonly choice: Computing,
  ) {}

  /** @throws REFERENCE for a choice that the model cannot have */
  static of(model: LanguageModel, choice: Computing): Reference {
    if (choice === 'base' && !model.adapters)
      throw new AttuneError(
        'REFERENCE',
        "reference is 'base', the model with its adapters off, and the model has no adapters.",
        { remedy: "Pass peftConfig, or take reference: 'initial', a frozen copy of the model." },
      );
    if (choice !== 'base' && choice !== 'initial')
      checkOther(model, choice, {
        code: 'REFERENCE',
        name: 'reference',
        words: ["'base'", "'initial'"],
        itself: {
          why: 'nothing would hold it',
          remedy:
            "Leave reference out, or load the checkpoint a second time; reference: 'initial' makes a frozen copy.",
        },
      });
    return new Reference(model, choice);
  }

  /** For the log. */
  get description(): string {
    if (this.choice === 'base') return 'the model with its adapters off';
    if (this.choice !== 'initial') return `the model ${this.choice.nameOrPath}`;
    return this.model.adapters
      ? `a frozen copy of the adapter ${this.model.adapters.activeAdapters.join(', ')}`
      : 'a frozen copy of the model';
  }

  /** What a file of its log-probabilities says that they are of. */
  get identity(): string {
    const { nameOrPath } = typeof this.choice === 'object' ? this.choice : this.model;
    return `${nameOrPath}: ${this.description}`;
  }

  /** Whether the model equals it before the first update. */
  get isStart(): boolean {
    return typeof this.choice !== 'object';
  }

  /** Makes the frozen copies, before any checkpoint is read. */
  async prepare(logger: Logger): Promise<void> {
    if (this.#isReady) return;
    this.#isReady = true;
    const { adapters } = this.model;
    if (this.choice === 'initial') {
      if (!adapters) this.#copy = await frozenCopy(this.model);
      else
        for (const name of adapters.activeAdapters)
          this.#copies.push(await copyUnderFreeName(adapters, name));
    }
    logger.info(`reference: ${this.description}.`);
  }

  /**
   * Records `fn` with the reference model, without gradients, dropout and noise.
   *
   * @param fn records; is given the model to record with
   */
  record<T>(fn: (model: LanguageModel) => T): T {
    const { model, choice } = this;
    const run = (own: LanguageModel) => inference(own, () => fn(own));
    if (typeof choice === 'object') return run(choice);
    if (this.#copy) return run(this.#copy);
    const { adapters } = model;
    if (choice === 'base') return adapters!.withAdaptersDisabled(() => run(model));
    return adapters!.withAdapters(this.#copies, () => run(model));
  }
}

/** Copies an adapter as "reference", "reference-2", ...: other trainers have made theirs before. */
async function copyUnderFreeName(adapters: AdapterHost, adapter: string): Promise<string> {
  for (let n = 1; ; n++) {
    const name = n === 1 ? COPY : `${COPY}-${n}`;
    try {
      await adapters.copyAdapter(adapter, name);
      return name;
    } catch (error) {
      if (!AttuneError.isInstance(error) || error.code !== 'PEFT_ADAPTER_EXISTS') throw error;
    }
  }
}
