export { Attune, type CreateAttuneOptions, createAttune } from './attune.js';
export * from './backend/backend.js';
export { CountingBackend } from './backend/countingBackend.js';
export * from './backend/dtype.js';
export * from './backend/opCall.js';
export { ReferenceBackend } from './backend/reference/referenceBackend.js';
export * from './backend/sameCall.js';
export { sizeClass } from './backend/sizeClass.js';
export * from './callbacks/index.js';
export * from './dataset/index.js';
export type { RowSource } from './dataset/rowSource.js';
export * from './di/index.js';
export * from './distributed/index.js';
export { type EstimateMemoryOptions, estimateMemory } from './estimateMemory.js';
export type { EvalDataset, PredictionOutput } from './evaluation/evaluation.js';
export type {
  ComputeMetrics,
  EvalArray,
  EvalPrediction,
  PreprocessLogits,
} from './evaluation/predictions.js';
export * from './evaluation/tasks/index.js';
export { writeFileAtomic, writeFolderAtomic } from './io/atomic.js';
export * from './io/hfConfig.js';
export {
  type HubOptions,
  type HubProgress,
  hubOptions,
  resolveFolder,
  TOKENIZER_FILES,
} from './io/hub.js';
export { hasNonFinite } from './io/nonFinite.js';
export { readText } from './io/readText.js';
export * from './io/safetensors.js';
export * from './io/safetensorsHeader.js';
export * from './io/safetensorsWriter.js';
export { finishSave, saveWhole } from './io/saveWhole.js';
export { type ShardOptions, writeWeights } from './io/shards.js';
export * from './io/weights.js';
export * from './models/adapterHost.js';
export { adaptersOf } from './models/adaptersOf.js';
export { CausalLM } from './models/causalLm.js';
export { DecoderModel, type DecoderModelParts } from './models/decoderModel.js';
export { decoderConfig, decoderOptions } from './models/families/decoderConfig.js';
export * from './models/families/family.js';
export { nameInNested } from './models/families/nestedFamily.js';
export * from './models/generation/generate.js';
export { causalLmHead } from './models/heads/causalLmHead.js';
export * from './models/heads/classifierHead.js';
export {
  defineHead,
  type HeadContext,
  type HeadDefinition,
  type NewHeadOptions,
} from './models/heads/head.js';
export { classifierHead, type LabelOptions } from './models/heads/scoreHead.js';
export * from './models/heads/sequenceClassifier.js';
export { CausalLMWithValueHead, ValueHead, valueHead } from './models/heads/valueHead.js';
export { inference } from './models/inference.js';
export * from './models/kvCache.js';
export * from './models/languageModel.js';
export {
  AutoModelForCausalLM,
  AutoModelForCausalLMWithValueHead,
  AutoModelForSequenceClassification,
  type ClassifierFromConfigOptions,
  type ClassifierFromPretrainedOptions,
} from './models/loading/auto.js';
export { type AutoModel, autoModel } from './models/loading/autoModel.js';
export type { FromConfigOptions, FromPretrainedOptions } from './models/loading/loadOptions.js';
export type { QuantizationConfig } from './models/loading/quantization.js';
export * from './nn/attention.js';
export * from './nn/conv1d.js';
export * from './nn/decoder.js';
export * from './nn/embedding.js';
export * from './nn/init.js';
export * from './nn/linear.js';
export * from './nn/mlp.js';
export * from './nn/module.js';
export * from './nn/norm.js';
export { offloadWeights } from './nn/offload.js';
export * from './nn/quantizedLinear.js';
export * from './nn/rotary.js';
export * from './nn/rotaryDecoder.js';
export type { KeyValues, VirtualTokens } from './nn/virtualTokens.js';
export * from './objectives/causalLm.js';
export * from './objectives/causalLmRows.js';
export { collatePredictions } from './objectives/predictedRows.js';
export * from './objectives/sequenceClassification.js';
export * from './objectives/sequenceLogProbs.js';
export * from './optim/index.js';
export * from './points.js';
export * as quant from './quant/index.js';
export * as algebra from './tensor/algebra/index.js';
export { Engine } from './tensor/engine.js';
export type { MatmulOptions } from './tensor/matmulOptions.js';
export * from './tensor/op.js';
export * as ops from './tensor/ops/index.js';
export { opTable } from './tensor/opTable.js';
export * from './tensor/shape.js';
export { Tensor } from './tensor/tensor.js';
export * from './text/index.js';
export {
  type AssistantMask,
  assistantMask,
  type ChatTokenizer,
} from './tokenizer/assistantMask.js';
export { AutoTokenizer } from './tokenizer/autoTokenizer.js';
export type { ChatMessage, RenderOptions, Span } from './tokenizer/chatTemplate.js';
export { DecodeStream } from './tokenizer/decodeStream.js';
export * from './tokenizer/tokenizer.js';
export * from './trackers/index.js';
export * from './trainer/index.js';
export type { Resume } from './training/arguments/choices.js';
export type { IntervalStrategy } from './training/arguments/kinds.js';
export { evalName } from './training/arguments/metricName.js';
export { parseArguments } from './training/arguments/parseArguments.js';
export {
  parseTrainingArguments,
  type TrainingArguments,
  type TrainingArgumentsInput,
  trainingArgumentsSchema,
} from './training/arguments/trainingArguments.js';
export * from './training/batch.js';
export * from './training/callback.js';
export type { EventName, Moment, TrainerEvents } from './training/events.js';
export * from './training/objective.js';
export * from './training/objectiveDefinition.js';
export * from './training/rowRules.js';
export { type LogEntry, TrainerState } from './training/trainerState.js';
export type { HostMetrics, Update, UpdateContext } from './training/updates.js';
export { upload } from './training/upload.js';
export { formatBytes, parseBytes } from './util/bytes.js';
export { describeValue, isPromise } from './util/describeValue.js';
export * from './util/errors.js';
export * from './util/formatJson.js';
export * from './util/json.js';
export * from './util/logger.js';
export * from './util/losslessJson.js';
export {
  type FilledOptions,
  hintsOf,
  type OptionsInput,
  parseOptions,
  problemError,
  problemsOf,
  type Wording,
} from './util/options.js';
export * from './util/pythonRegex/index.js';
export * from './util/rng.js';
export { explainUnknown, type OptionHints } from './util/unknownOptions.js';
