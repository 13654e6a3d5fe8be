export * from './adapters/index.js';
export { type MergeTensorsOptions, mergeTensors } from './arithmetic/mergeTensors.js';
export * from './config/index.js';
export * from './contract/mergeMethod.js';
export type { MergeOutcome } from './execute/index.js';
export { type MergedModel, mergeFromYaml, mergeModels, planMerge } from './mergeModels.js';
export type { MergeOptions, MergeProgress, PlanMergeOptions } from './options.js';
export type { MergePlan } from './plan/mergePlan.js';
export { merge } from './plugin.js';
