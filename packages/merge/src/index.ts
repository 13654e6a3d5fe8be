export * from './adapters/index.js';
export { type MergeTensorsOptions, mergeTensors } from './arithmetic/mergeTensors.js';
export * from './config/index.js';
export * from './contract/mergeMethod.js';
export type {
  FillRow,
  StoredTensor,
  TensorInput,
  TensorSource,
  TensorTask,
} from './contract/tensorTask.js';
export type { MergeOutcome } from './execute/index.js';
export {
  type GreedySoup,
  type GreedySoupOptions,
  greedySoup,
  type SoupStep,
} from './greedySoup.js';
export * from './mergeModels.js';
export type { MergeOptions, MergeProgress, PlanMergeOptions } from './options.js';
export * from './plan/index.js';
export { merge } from './plugin.js';
export type {
  MergeReport,
  ReportedTensor,
  ReportFacts,
  ReportGroup,
} from './report/mergeReport.js';
