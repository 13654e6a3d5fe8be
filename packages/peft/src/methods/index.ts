import type { PeftMethod } from '../contract/methodKinds.js';
import { bitfit } from './bitfit.js';
import { bottleneck } from './bottleneck.js';
import { full } from './fullFineTuning.js';
import { ia3 } from './ia3.js';
import { layerSelect } from './layerSelect.js';
import { lora } from './lora.js';
import { prefixTuning } from './prefixTuning.js';
import { promptTuning } from './promptTuning.js';
import { pTuning } from './pTuning.js';
import { vera } from './vera.js';

export { type BitfitConfig, bitfit } from './bitfit.js';
export { type AdapterConfig, bottleneck } from './bottleneck.js';
export { type FullConfig, full } from './fullFineTuning.js';
export { type Ia3Config, ia3 } from './ia3.js';
export { type LayerSelectConfig, layerSelect } from './layerSelect.js';
export { type LoraConfig, lora } from './lora.js';
export { type PrefixTuningConfig, prefixTuning } from './prefixTuning.js';
export { type PromptTuningConfig, promptTuning } from './promptTuning.js';
export { type PTuningConfig, pTuning } from './pTuning.js';
export { type VeraConfig, vera } from './vera.js';

/** What `peft()` brings. */
export const methods: readonly PeftMethod[] = [
  lora,
  ia3,
  vera,
  bottleneck,
  bitfit,
  layerSelect,
  full,
  promptTuning,
  pTuning,
  prefixTuning,
];
