export { type ExecuteOptions, executeMerge, type MergeOutcome } from './executeMerge.js';
export { type MergeResources, planResources, predictPeak } from './resources.js';
