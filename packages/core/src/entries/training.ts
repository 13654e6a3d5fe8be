/**
 * What a run is made of: arguments, objectives, optimizers, schedules, callbacks, trackers,
 * evaluation, ranks.
 *
 * @module
 */
export * from '../callbacks/index.js';
export * from '../distributed/index.js';
export type { EvalDataset, PredictionOutput } from '../evaluation/evaluation.js';
export type {
  ComputeMetrics,
  EvalArray,
  EvalPrediction,
  PreprocessLogits,
} from '../evaluation/predictions.js';
export * from '../evaluation/tasks/index.js';
export * from '../objectives/causalLm.js';
export { type CausalLmRowOptions, causalLmRows } from '../objectives/causalLmRows.js';
export {
  collatePredictions,
  type PredictedRows,
  predictedRows,
} from '../objectives/predictedRows.js';
export * from '../objectives/sequenceClassification.js';
export * from '../objectives/sequenceLogProbs.js';
export * from '../objectives/sequenceScores.js';
export * from '../optim/index.js';
export * from '../trackers/index.js';
export * from '../trainer/index.js';
export type { Resume } from '../training/arguments/choices.js';
export type { IntervalStrategy } from '../training/arguments/kinds.js';
export { evalName } from '../training/arguments/metricName.js';
export { parseArguments } from '../training/arguments/parseArguments.js';
export {
  parseTrainingArguments,
  type TrainingArguments,
  type TrainingArgumentsInput,
  trainingArgumentsSchema,
} from '../training/arguments/trainingArguments.js';
export * from '../training/batch.js';
export * from '../training/callback.js';
export type { EventName, Moment, TrainerEvents } from '../training/events.js';
export * from '../training/objective.js';
export * from '../training/objectiveDefinition.js';
export * from '../training/rowRules.js';
export { type LogEntry, TrainerState } from '../training/trainerState.js';
export type { HostMetrics, Update, UpdateContext } from '../training/updates.js';
export { upload } from '../training/upload.js';
