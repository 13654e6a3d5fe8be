export * from './evaluationTask.js';
export * from './generateTask.js';
export * from './logLikelihoods.js';
export * from './loglikelihoodTask.js';
export * from './metrics.js';
