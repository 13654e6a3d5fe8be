export {
  type Advice,
  type AdviseOptions,
  advise,
  type MethodEstimate,
  type TrainingMethod,
} from './advise.js';
export type { PeftConfig, PeftConfigBase } from './config.js';
export {
  type AdapterContext,
  type BaseModel,
  type BaseParameter,
  type ConfigSchema,
  definePeftMethod,
  type GivenAs,
  type Init,
  type LayerInfo,
  type MethodConfig,
  type ParamSpec,
  type ParamSpecs,
  type PeftMethod,
  type PeftMethodDefinition,
  type PromptEncoder,
  type SharedSpec,
  type SharedSpecs,
  type VirtualTokenPart,
} from './definePeftMethod.js';
export { type ExtractedLora, type ExtractLoraOptions, extractLora } from './extractLora.js';
export { type CheckAdapterOptions, checkAdapter } from './interop/checkAdapter.js';
export type { AdapterProblem, AdapterProblemCode, AdapterTarget } from './interop/problem.js';
export {
  type AdapterConfig,
  type BitfitConfig,
  bitfit,
  bottleneck,
  type FullConfig,
  full,
  type Ia3Config,
  ia3,
  type LayerSelectConfig,
  type LoraConfig,
  layerSelect,
  lora,
  type PrefixTuningConfig,
  type PromptTuningConfig,
  type PTuningConfig,
  prefixTuning,
  promptTuning,
  pTuning,
  type VeraConfig,
  vera,
} from './methods/index.js';
export type {
  LoadAdapterOptions,
  MergeAndUnloadOptions,
  MergeOptions,
  SaveAdapterOptions,
} from './options.js';
export { fullMatch, patternValue } from './patterns.js';
export type { CustomPeftConfig, PeftConfigInput } from './peftConfigInput.js';
export { getPeftModel, PeftModel } from './peftModel.js';
export { PeftMethods } from './points.js';
export { peft } from './service.js';
export { type VirtualTokenConfig, virtualTokenOptions } from './virtualTokenConfig.js';
export type { WeightedAdapterOptions } from './weightedAdapter.js';
