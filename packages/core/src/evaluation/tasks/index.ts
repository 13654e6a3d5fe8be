export {
  type EvaluationTask,
  type EvaluationTaskContext,
  EvaluationTasks,
  type RunEvaluationTaskOptions,
  runEvaluationTask,
  type TaskMetrics,
} from './evaluationTask.js';
export * from './generateTask.js';
export * from './logLikelihoods.js';
export * from './loglikelihoodTask.js';
export {
  type ChoiceScore,
  type ExactMatchOptions,
  exactMatch,
  meansWithErrors,
  scoreChoices,
  textPerplexities,
} from './metrics.js';
