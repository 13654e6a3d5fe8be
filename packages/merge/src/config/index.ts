export type * from './mergeConfig.js';
export type * from './mergeConfigInput.js';
export type { ModelPathInput, ModelReferenceInput } from './modelReference.js';
export { type ParseMergeOptions, parseMergeConfig, parseMergeYaml } from './parseMergeYaml.js';
export { readMergeYaml } from './readMergeYaml.js';
export { toYaml } from './toYaml.js';
