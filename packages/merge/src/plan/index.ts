export { type DescribePlanOptions, describePlan } from './describePlan.js';
export { explainTensor } from './explainTensor.js';
export type { MergePlan, OutputFile } from './mergePlan.js';
