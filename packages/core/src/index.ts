/**
 * What training scripts and plugins name. The rest lies behind `@attune/core/tensor`, `/nn`,
 * `/models`, `/text`, `/training`, `/backend`, `/io`, `/util` and `/testing`.
 *
 * @module
 */
export { Attune, type CreateAttuneOptions, createAttune } from './attune.js';
export type { DType } from './backend/dtype.js';
export {
  Callbacks,
  EarlyStoppingCallback,
  ProgressCallback,
  type Tracker,
  type TrackerFacts,
  Trackers,
} from './callbacks/index.js';
export {
  Dataset,
  type DatasetReader,
  DatasetReaders,
  IterableDataset,
  type LoadDatasetOptions,
  loadDataset,
  type Row,
} from './dataset/index.js';
export type { RowSource } from './dataset/rowSource.js';
export {
  definePlugin,
  type ExtensionPoint,
  extensionPoint,
  inject,
  injectable,
  multiInject,
  named,
  optional,
  PLUGIN_API_VERSION,
  type Plugin,
  type PluginContext,
  TOKENS,
  token,
} from './di/index.js';
export { type Communicator, localCommunicator } from './distributed/index.js';
export { type EstimateMemoryOptions, estimateMemory } from './estimateMemory.js';
export type { EvalDataset, PredictionOutput } from './evaluation/evaluation.js';
export type { ComputeMetrics, EvalPrediction } from './evaluation/predictions.js';
export {
  type EvaluationTask,
  EvaluationTasks,
  generateTask,
  loglikelihoodTask,
  runEvaluationTask,
} from './evaluation/tasks/index.js';
export type { HubOptions } from './io/hub.js';
export type { AdapterHost, AdapterService } from './models/adapterHost.js';
export { CausalLM } from './models/causalLm.js';
export { decoderConfig, decoderOptions } from './models/families/decoderConfig.js';
export { defineModelFamily, ModelFamilies } from './models/families/family.js';
export { frozenCopy } from './models/frozenCopy.js';
export type { GenerateOptions, GenerateOutput } from './models/generation/generate.js';
export { SequenceClassifier } from './models/heads/sequenceClassifier.js';
export { inference } from './models/inference.js';
export type { LanguageModel } from './models/languageModel.js';
export {
  AutoModelForCausalLM,
  AutoModelForCausalLMWithValueHead,
  AutoModelForSequenceClassification,
} from './models/loading/auto.js';
export type { FromPretrainedOptions } from './models/loading/loadOptions.js';
export type { QuantizationConfig } from './models/quantization/bitsAndBytes.js';
export {
  defineQuantizationFormat,
  QuantizationFormats,
} from './models/quantization/quantizationFormat.js';
export { RotaryDecoder } from './nn/rotaryDecoder.js';
export { causalLmObjective } from './objectives/causalLm.js';
export { causalLmRows } from './objectives/causalLmRows.js';
export { collatePredictions } from './objectives/predictedRows.js';
export { sequenceClassificationObjective } from './objectives/sequenceClassification.js';
export { type SequenceLogProbs, sequenceLogProbs } from './objectives/sequenceLogProbs.js';
export { sequenceScores } from './objectives/sequenceScores.js';
export {
  defineOptimizer,
  defineSchedule,
  LearningRateSchedules,
  Optimizers,
} from './optim/index.js';
export { Backends } from './points.js';
export { Engine } from './tensor/engine.js';
export { defineOp, type OpDef } from './tensor/op.js';
export * as ops from './tensor/ops/index.js';
export { numel, type Shape } from './tensor/shape.js';
export { Tensor } from './tensor/tensor.js';
export {
  collateTokens,
  countLabels,
  IGNORE_INDEX,
  PreflightReport,
  type TokenExample,
} from './text/index.js';
export { AutoTokenizer } from './tokenizer/autoTokenizer.js';
export type { ChatMessage } from './tokenizer/chatTemplate.js';
export { Tokenizer } from './tokenizer/tokenizer.js';
export {
  HtmlReportCallback,
  JsonlCallback,
  MlflowCallback,
  TensorBoardCallback,
  WandbCallback,
} from './trackers/index.js';
export {
  lastCheckpoint,
  type MemoryPlan,
  type PeftConfigInput,
  SFTTrainer,
  type SftArguments,
  type SftArgumentsInput,
  type SftTrainerOptions,
  Trainer,
  type TrainerOptions,
  type TrainingProfile,
  type TrainingStep,
  type TrainOptions,
  type TrainOutput,
} from './trainer/index.js';
export type {
  TrainingArguments,
  TrainingArgumentsInput,
} from './training/arguments/trainingArguments.js';
export type { DeviceBatch, HostBatch, HostTensor } from './training/batch.js';
export {
  type CallbackContext,
  defineCallback,
  type EvalMetrics,
  type Logs,
  type TrainerCallback,
  type TrainerControl,
  type TrainLogs,
} from './training/callback.js';
export type { TrainerEvents } from './training/events.js';
export type { LossOutput, Objective, PrepareContext } from './training/objective.js';
export { defineObjective, Objectives } from './training/objectiveDefinition.js';
export type { RowRules } from './training/rowRules.js';
export { TrainerState } from './training/trainerState.js';
export type { Update, UpdateContext } from './training/updates.js';
export { upload } from './training/upload.js';
export { AttuneError } from './util/errors.js';
export { consoleLogger, type Logger, silentLogger } from './util/logger.js';
