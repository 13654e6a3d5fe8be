import type { AdapterHost } from '../../models/adapterHost.js';
import type { LanguageModel } from '../../models/languageModel.js';
import { AttuneError } from '../../util/errors.js';
import { checkSameAdapters } from '../checkTraining.js';

/** The adapters that a run trains: what is trained is what computes, and what is saved. */
export class TrainedAdapters {
  /** null: the model itself is trained. */
  readonly #adapters: AdapterHost | null;
  readonly #active: readonly string[];

  constructor(private readonly model: LanguageModel) {
    this.#adapters = model.adapters;
    this.#active = model.adapters?.activeAdapters ?? [];
  }

  /** They are on the model. @throws ADAPTERS_CHANGED */
  checkPresent(): void {
    checkSameAdapters(this.#adapters, this.model.adapters, 'during training');
  }

  /** They are on the model, and active. @throws ADAPTERS_CHANGED */
  checkActive(): void {
    this.checkPresent();
    const active = this.model.adapters?.activeAdapters ?? [];
    const before = this.#active;
    if (active.length === before.length && before.every((name, i) => name === active[i])) return;
    const names = (list: readonly string[]) => list.map((n) => `"${n}"`).join(', ') || 'none';
    throw new AttuneError(
      'ADAPTERS_CHANGED',
      `the active adapters were ${names(before)} when training began and are ${names(active)} now.`,
      {
        remedy: 'Switch adapters back before the next update, or train them in runs of their own.',
      },
    );
  }
}
