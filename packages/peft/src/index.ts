export {
  type Advice,
  type AdviseOptions,
  advise,
  type MethodEstimate,
  type TrainingMethod,
} from './advise.js';
export {
  type CombinedFolder,
  type CombineSavedOptions,
  combineSavedAdapters,
} from './combine/combineSavedAdapters.js';
export type { WeightedAdapterOptions } from './combine/planCombination.js';
export type { BaseModel, BaseParameter } from './contract/baseModel.js';
export type { PeftConfig, PeftConfigBase } from './contract/config.js';
export { definePeftMethod, type PeftMethodDefinition } from './contract/definePeftMethod.js';
export type { AdapterContext, LayerInfo } from './contract/layerInfo.js';
export type {
  ConfigSchema,
  GivenAs,
  LayerMethod,
  LayerPart,
  MethodConfig,
  MethodFacts,
  PeftMethod,
  PromptEncoder,
  PromptMethod,
  PromptPart,
  SelectionMethod,
  SelectionPart,
  Targets,
  VirtualTokenPart,
} from './contract/methodKinds.js';
export type { Init, ParamSpec, ParamSpecs, SharedSpec, SharedSpecs } from './contract/paramSpec.js';
export { fullMatch, patternValue } from './contract/patterns.js';
export { PeftMethods } from './contract/points.js';
export { type VirtualTokenConfig, virtualTokenOptions } from './contract/virtualTokenConfig.js';
export { type ExtractedLora, type ExtractLoraOptions, extractLora } from './extractLora.js';
export type { LoadAdapterOptions, SaveAdapterOptions } from './files/options.js';
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
export type { CustomPeftConfig, PeftConfigInput } from './methods/peftConfigInput.js';
export { getPeftModel } from './model/getPeftModel.js';
export type { MergeAndUnloadOptions, MergeOptions } from './model/mergeOptions.js';
export { PeftModel } from './model/peftModel.js';
export { peft } from './plugin.js';
