import { AttuneError, type LanguageModel } from '@attune/core';
import { describeValue, isPromise } from '@attune/core/util';

const load = 'await AutoModelForCausalLM.fromPretrained(path, { attune })';

/**
 * What is given as the model, before anything is asked of it.
 *
 * @throws PEFT_CALL, ATTUNE_DISPOSED
 */
export function checkBase(where: string, model: unknown): asserts model is LanguageModel {
  const isModel =
    typeof model === 'object' && model !== null && 'root' in model && 'attune' in model;
  if (!isModel)
    throw new AttuneError(
      'PEFT_CALL',
      `${where}: expected a language model first, found ${describeValue(model)}.`,
      { remedy: isPromise(model) ? `Write await: ${load}.` : `Pass ${load}.` },
    );
  if ((model as LanguageModel).attune.isDisposed)
    throw new AttuneError('ATTUNE_DISPOSED', `${where}: the model's Attune was disposed before.`, {
      remedy: 'Do it before `await using attune` leaves its block, or before attune.dispose().',
    });
}

/** @throws PEFT_CALL for a config that is no object */
export function checkConfig(where: string, config: unknown): void {
  if (typeof config === 'object' && config !== null && !Array.isArray(config)) return;
  throw new AttuneError(
    'PEFT_CALL',
    `${where}: expected the config of an adapter, found ${describeValue(config)}.`,
    { remedy: "Pass { peftType: 'LORA', r: 8, targetModules: 'all-linear' }." },
  );
}

/** @throws PEFT_CALL for a path that is none */
export function checkAdapterPath(where: string, path: unknown): asserts path is string {
  if (typeof path === 'string' && path.trim() !== '') return;
  throw new AttuneError(
    'PEFT_CALL',
    `${where}: expected the folder or the Hub id of an adapter after the model, found ${describeValue(path)}.`,
    { remedy: `Pass ${where}(model, './out/final').` },
  );
}
