/**
 * Files: safetensors, config.json, the Hub, saves that are swapped in whole.
 *
 * @module
 */
export { writeFileAtomic, writeFolderAtomic } from '../io/atomic.js';
export { filesIn } from '../io/filesIn.js';
export * from '../io/hfConfig.js';
export {
  type HubOptions,
  type HubProgress,
  hubOptions,
  resolveFolder,
  TOKENIZER_FILES,
} from '../io/hub.js';
export { hasNonFinite } from '../io/nonFinite.js';
export { readText } from '../io/readText.js';
export * from '../io/safetensors.js';
export * from '../io/safetensorsHeader.js';
export * from '../io/safetensorsWriter.js';
export { finishSave, saveWhole } from '../io/saveWhole.js';
export { type ShardOptions, writeWeights } from '../io/shards.js';
export * from '../io/weights.js';
