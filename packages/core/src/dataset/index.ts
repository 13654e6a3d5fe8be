export * from './collator.js';
export { Dataset, type Row } from './dataset.js';
export * from './formats.js';
export * from './inspectRows.js';
export * from './iterableDataset.js';
export { lengthGroupedOrder } from './lengthGrouped.js';
export * from './loadDataset.js';
export {
  type ExampleStream,
  type Examples,
  firstExamples,
  Loader,
  type LoaderOptions,
  sampleExamples,
} from './loader.js';
export * from './pack.js';
export {
  PREFLIGHT_CHECKS,
  Preflight,
  type PreflightCheck,
  type PreflightContext,
  type PreflightOptions,
} from './preflight.js';
export type { PreflightProblem, PreflightWarning } from './preflightProblems.js';
export {
  type FormatOptions,
  type PreflightFacts,
  PreflightReport,
  type PreviewedRow,
} from './preflightReport.js';
export type { Segment } from './preflightText.js';
export * from './tokenizeSft.js';
