import { adaptersOf } from '../models/adaptersOf.js';
import type { LanguageModel } from '../models/languageModel.js';
import type { Objective } from '../training/objective.js';
import { trainedRoot } from '../training/trainedRoot.js';
import { AttuneError } from '../util/errors.js';

declare global {
  /**
   * Types that other packages bring for options of core, which imports none of them. `@attune/peft`
   * sets `peftConfig`. It is global, because a bundled declaration file cannot be augmented by its
   * module's name.
   */
  interface AttuneTypes {}
}

/**
 * What `peftConfig` takes: configs of the methods that `@attune/peft` and other packages declare.
 * Without such a package, any object.
 */
export type PeftConfigInput = AttuneTypes extends { readonly peftConfig: infer Config }
  ? Config
  : Readonly<Record<string, unknown>>;

/** The model with a new adapter. @throws PEFT_MISSING without a plugin that knows adapters */
export function applyPeft(model: LanguageModel, config: PeftConfigInput): LanguageModel {
  const service = adaptersOf(model.attune, 'a peftConfig was given');
  return service.apply(model, { ...config });
}

/** @throws NO_TRAINABLE when everything is frozen */
export function checkTrainable(model: LanguageModel, objective: Pick<Objective, 'modules'>): void {
  for (const [, parameter] of trainedRoot(model, objective).namedParameters())
    if (parameter.trainable) return;
  throw new AttuneError('NO_TRAINABLE', 'every parameter of the model is frozen.', {
    remedy: model.adapters
      ? 'Load the adapter with isTrainable: true, or add a new one.'
      : 'Pass a peftConfig, or set `parameter.trainable = true` on what shall learn.',
  });
}
