import { AttuneError, frozenCopy, inference, type LanguageModel, type Logger } from '@attune/core';

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

/** A frozen copy of an adapter is called so; TRL calls it "ref". */
const COPY = 'reference';

/** A reference model, ready to be recorded. */
export class Reference {
  #copy: LanguageModel | null = null;
  #isReady = false;

  private constructor(
    private readonly model: LanguageModel,
    private readonly choice: Computing,
  ) {}

  /** @throws REFERENCE for a choice that the model cannot have */
  static of(model: LanguageModel, choice: Computing): Reference {
    const { adapters } = model;
    const invalid = (what: string, remedy: string) =>
      new AttuneError('REFERENCE', what, { remedy });
    if (choice === 'base' && !adapters)
      throw invalid(
        "reference is 'base', the model with its adapters off, and the model has no adapters.",
        "Pass peftConfig, or take reference: 'initial', a frozen copy of the model.",
      );
    if (typeof choice !== 'object') return new Reference(model, choice);
    if (choice.root === model.root)
      throw invalid(
        'reference is the model that is trained: nothing would hold it.',
        "Leave reference out, or load the checkpoint a second time; reference: 'initial' makes a frozen copy.",
      );
    if (choice.engine !== model.engine)
      throw invalid(
        'reference lies on another Attune than the model.',
        'Load both with the same `attune`.',
      );
    if (choice.config.vocabSize !== model.config.vocabSize)
      throw invalid(
        `reference has a vocabulary of ${choice.config.vocabSize} tokens, the model of ${model.config.vocabSize}.`,
        'Take a reference that shares the tokenizer of the model.',
      );
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
          await adapters.copyAdapter(name, copyName(name));
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
    const copies = adapters!.activeAdapters.map(copyName);
    return adapters!.withAdapters(copies, () => run(model));
  }
}

const copyName = (adapter: string): string => (adapter === 'default' ? COPY : `${COPY}-${adapter}`);
