import { TOKENS } from '../di/tokens.js';
import type { LanguageModel } from '../models/languageModel.js';
import { AttuneError } from '../util/errors.js';

export type PeftConfigInput = Readonly<Record<string, unknown>>;

/** The model with a new adapter. @throws PEFT_MISSING without a plugin that knows adapters */
export function applyPeft(model: LanguageModel, config: PeftConfigInput): LanguageModel {
  const service = model.attune.service(TOKENS.AdapterService);
  if (!service)
    throw new AttuneError('PEFT_MISSING', 'a peftConfig was given, but no plugin adds adapters.', {
      remedy:
        'npm install @attune/peft, then createAttune({ plugins: [peft(), ...] }) with `import { peft } from "@attune/peft"`.',
    });
  return service.apply(model, config);
}

/**
 * What shall learn: the parameters that are trainable already or, for a model that was just loaded and
 * has no adapter, all of them (full fine-tuning, as in transformers).
 *
 * @throws NO_TRAINABLE when every adapter is frozen
 */
export function ensureTrainable(model: LanguageModel): void {
  const parameters = [...model.root.namedParameters()].map(([, parameter]) => parameter);
  if (parameters.some((parameter) => parameter.trainable)) return;
  if (model.adapters)
    throw new AttuneError('NO_TRAINABLE', 'the model has adapters, but all of them are frozen.', {
      remedy: 'Load the adapter with isTrainable: true.',
    });
  for (const parameter of parameters) parameter.trainable = true;
}
