/**
 * Files: safetensors, config.json, the Hub, saves that are swapped in whole.
 *
 * @module
 */
export {
  makeFolder,
  syncFolder,
  syncTree,
  writeFileAtomic,
  writeFolderAtomic,
} from '../io/atomic.js';
export { filesIn } from '../io/filesIn.js';
export { FolderLock, type LockUse } from '../io/folderLock.js';
export * from '../io/hfConfig.js';
export {
  fetchDataset,
  type HubOptions,
  type HubProgress,
  hubOptions,
  resolveFolder,
  TOKENIZER_FILES,
} from '../io/hub.js';
export { findNonFinite, hasNonFinite } from '../io/nonFinite.js';
export { readText } from '../io/readText.js';
export { type OpenFileOptions, openRegular } from '../io/regularFile.js';
export * from '../io/safetensors.js';
export * from '../io/safetensorsHeader.js';
export * from '../io/safetensorsWriter.js';
export { finishSave, saveWhole } from '../io/saveWhole.js';
export {
  planWeightFiles,
  type ShardOptions,
  type WeightFiles,
  writeWeights,
} from '../io/shards.js';
export * from '../io/weights.js';
