export { applyPeft, type PeftConfigInput } from './applyPeft.js';
export { checkTrainerOptions } from './checkInputs.js';
export type { StopReason } from './loop/stopRequest.js';
export type { EvaluationReport, TrainingStep, UpdateReport } from './loop/trainingSteps.js';
export type {
  GenerationShape,
  MemoryCategory,
  MemoryEntry,
  MemoryPhase,
  MemoryPlan,
  PlanMemoryOptions,
} from './memory/memoryPlan.js';
export type { DeviceLimits, ProfileOptions, ProfileRow, TrainingProfile } from './profile.js';
export { lastCheckpoint } from './run/checkpoint/checkpointFolders.js';
export * from './sftTrainer.js';
export * from './trainer.js';
export {
  type PreviewOptions,
  type SavableTokenizer,
  type TrainerFlavor,
  type TrainerOptions,
  type TrainOptions,
  type TrainOutput,
  trainerOptions,
  trainOptions,
} from './trainerOptions.js';
