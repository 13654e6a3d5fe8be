export { applyPeft, type PeftConfigInput } from './applyPeft.js';
export * from './causalLmObjective.js';
export { lastCheckpoint } from './checkpointFolders.js';
export type { EvalDataset, PredictionOutput } from './evaluation.js';
export type {
  GenerationShape,
  MemoryCategory,
  MemoryEntry,
  MemoryPhase,
  MemoryPlan,
  PlanMemoryOptions,
} from './memoryPlan.js';
export * from './objective.js';
export type { Resume } from './outputFolder.js';
export { parseArguments } from './parseArguments.js';
export type {
  ComputeMetrics,
  EvalArray,
  EvalPrediction,
  PreprocessLogits,
} from './predictions.js';
export type { RowSource } from './prepareRows.js';
export type { DeviceLimits, ProfileOptions, ProfileRow, TrainingProfile } from './profile.js';
export * from './sequenceClassificationObjective.js';
export * from './sftTrainer.js';
export type { StopReason } from './stopRequest.js';
export * from './tasks/index.js';
export * from './trainer.js';
export * from './trainerOptions.js';
export { type LogEntry, TrainerState } from './trainerState.js';
export {
  evalName,
  type IntervalStrategy,
  type Optional,
  parseTrainingArguments,
  type TrainingArguments,
  type TrainingArgumentsInput,
  trainingArgumentsSchema,
} from './trainingArguments.js';
