import type { LanguageModel } from '@attune/core';
import type { PeftConfigInput } from '../methods/peftConfigInput.js';
import { checkBase, checkConfig } from './checkCall.js';
import { PeftModel } from './peftModel.js';
import type { BaseOf } from './wrappedModel.js';

/**
 * Freezes a model and adds a new, trainable adapter to it, which becomes the active one.
 *
 * @param config e.g. `{ peftType: 'LORA', r: 16, loraAlpha: 32, targetModules: 'all-linear' }`, in
 *   PEFT's names
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
