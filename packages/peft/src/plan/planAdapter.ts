import type { LanguageModel } from '@attune/core';
import type { PeftConfig } from '../contract/config.js';
import type {
  LayerMethod,
  PeftMethod,
  PromptMethod,
  SelectionMethod,
} from '../contract/methodKinds.js';
import { baseModules } from '../slots/adapterSlot.js';
import type { PlannedSlot } from '../slots/plannedSlot.js';
import { PROMPT_EMBEDDINGS } from '../slots/promptSlot.js';
import { baseModel, type ModuleTable } from './baseFacts.js';
import { refuseConflicts } from './conflicts.js';
import { planModulesToSave, planSelection } from './planCopies.js';
import { planBiases, planLayers, resolveTargets } from './planLayers.js';
import { fitVirtualTokens, planVirtualTokens } from './planVirtualTokens.js';
import { unmatchedOptions } from './unmatched.js';

/** What a config means on one model: known in full before anything is changed. */
export interface AdapterPlan {
  readonly method: PeftMethod;
  /** The config with targetModules as they were resolved. */
  readonly config: PeftConfig;
  /** Where it puts parameters, and all of them. */
  readonly slots: readonly PlannedSlot[];
  /** What of the config matches nothing, beside what does: a sentence each. */
  readonly unmatched: readonly string[];
}

/** What adapter_model.safetensors holds: names within the base model, and shapes. */
export function plannedTensors({ slots }: AdapterPlan): Map<string, readonly number[]> {
  const all = new Map<string, readonly number[]>();
  for (const slot of slots) {
    // What an encoder gives, whose own parameters have another file.
    if (slot.kind === 'prompt') all.set(PROMPT_EMBEDDINGS, slot.shape);
    else
      for (const { fileName, shape } of slot.parameters)
        if (fileName !== null) all.set(fileName, shape);
  }
  return all;
}

/**
 * Matches a config to a model.
 *
 * @throws PEFT_NO_TARGET, PEFT_TARGETS_NEEDED, PEFT_TARGET_NOT_LINEAR, PEFT_QUANTIZED,
 *   PEFT_TIED_EMBEDDING, PEFT_CONFLICT, PEFT_OTHER_BASE
 */
export function planAdapter(
  model: LanguageModel,
  method: PeftMethod,
  config: PeftConfig,
): AdapterPlan {
  const modules: ModuleTable = new Map(baseModules(model.root));
  switch (method.kind) {
    case 'layers':
      return planLayerMethod(model, method, config, modules);
    case 'selection':
      return planSelectionMethod(model, method, config, modules);
    case 'prompt':
      return planPromptMethod(model, method, config, modules);
  }
}

function planLayerMethod(
  model: LanguageModel,
  method: LayerMethod,
  given: PeftConfig,
  modules: ModuleTable,
): AdapterPlan {
  const { modelType } = model.config;
  const whole = method.resolve?.(given, baseModel(model, modules)) ?? given;
  const { config, paths } = resolveTargets(model, method, whole, modules);
  // A default of the method is no choice of the user's.
  const { feedforwardModules } = given;
  const unmatched = unmatchedOptions(
    { ...config, feedforwardModules },
    {
      modules: [...modules.keys()].filter((path) => path !== ''),
      adapted: paths,
      modelType,
    },
  );
  const copies = planModulesToSave(model, config.modulesToSave ?? [], modules);
  const layers = planLayers(model, method, config, paths, modules);
  const biases = planBiases(config, paths, copies, modules);
  refuseConflicts(paths, biases, copies, modules);
  return { method, config, slots: [...layers, ...biases, ...copies], unmatched };
}

function planSelectionMethod(
  model: LanguageModel,
  method: SelectionMethod,
  given: PeftConfig,
  modules: ModuleTable,
): AdapterPlan {
  const base = baseModel(model, modules);
  const config = method.resolve?.(given, base) ?? given;
  const whole = planModulesToSave(model, config.modulesToSave ?? [], modules);
  const isWhole = (path: string) => whole.some((copy) => copy.path === path);
  const selected = planSelection(method, base, config, modules);
  const slots = [...selected.filter(({ path }) => !isWhole(path)), ...whole];
  refuseConflicts([], [], slots, modules);
  const subject = { modules: [...modules.keys()], adapted: null, modelType: base.modelType };
  return { method, config, slots, unmatched: unmatchedOptions(config, subject) };
}

function planPromptMethod(
  model: LanguageModel,
  method: PromptMethod,
  given: PeftConfig,
  modules: ModuleTable,
): AdapterPlan {
  const base = baseModel(model, modules);
  const fitted = fitVirtualTokens(given, method.prompt.gives, base);
  const config = method.resolve?.(fitted, base) ?? fitted;
  const copies = planModulesToSave(model, config.modulesToSave ?? [], modules);
  refuseConflicts([], [], copies, modules);
  const prompt = planVirtualTokens(method, config, base);
  return { method, config, slots: [prompt, ...copies], unmatched: [] };
}
