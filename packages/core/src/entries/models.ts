/**
 * Model families, loading, generation, heads.
 *
 * @module
 */
export * from '../models/adapterHost.js';
export { adaptersOf } from '../models/adaptersOf.js';
export { CausalLM } from '../models/causalLm.js';
export { DecoderModel, type DecoderModelParts } from '../models/decoderModel.js';
export { decoderConfig, decoderOptions } from '../models/families/decoderConfig.js';
export * from '../models/families/family.js';
export { nameInNested } from '../models/families/nestedFamily.js';
export { frozenCopy } from '../models/frozenCopy.js';
export * from '../models/generation/generate.js';
export { causalLmHead } from '../models/heads/causalLmHead.js';
export * from '../models/heads/classifierHead.js';
export {
  defineHead,
  type HeadContext,
  type HeadDefinition,
  type NewHeadOptions,
} from '../models/heads/head.js';
export { classifierHead, type LabelOptions } from '../models/heads/scoreHead.js';
export * from '../models/heads/sequenceClassifier.js';
export { CausalLMWithValueHead, ValueHead, valueHead } from '../models/heads/valueHead.js';
export { inference } from '../models/inference.js';
export * from '../models/kvCache.js';
export * from '../models/languageModel.js';
export {
  AutoModelForCausalLM,
  AutoModelForCausalLMWithValueHead,
  AutoModelForSequenceClassification,
  type ClassifierFromConfigOptions,
  type ClassifierFromPretrainedOptions,
} from '../models/loading/auto.js';
export { type AutoModel, autoModel } from '../models/loading/autoModel.js';
export type { FromConfigOptions, FromPretrainedOptions } from '../models/loading/loadOptions.js';
export type { QuantizationConfig } from '../models/quantization/bitsAndBytes.js';
export * from '../models/quantization/quantizationFormat.js';
