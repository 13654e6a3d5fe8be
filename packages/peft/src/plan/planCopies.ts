import { AttuneError, type LanguageModel } from '@attune/core';
import { type Module, QuantizedLayer } from '@attune/core/nn';
import type { BaseModel } from '../contract/baseModel.js';
import type { PeftConfig } from '../contract/config.js';
import type { SelectionMethod } from '../contract/methodKinds.js';
import { original } from '../slots/adapterSlot.js';
import type { PlannedCopy } from '../slots/plannedSlot.js';
import { lastName, type ModuleTable, ownParameter } from './baseFacts.js';

/**
 * Copies of modules that are trained whole.
 *
 * @throws PEFT_NO_TARGET, PEFT_QUANTIZED, PEFT_TIED_EMBEDDING
 */
export function planModulesToSave(
  model: LanguageModel,
  names: readonly string[],
  modules: ModuleTable,
): PlannedCopy[] {
  const found = new Set<string>();
  for (const name of names) {
    // PEFT's rule here is a plain suffix: "norm" is input_layernorm too. Its files depend on it.
    const matches = [...modules.keys()].filter((path) => path.endsWith(name));
    if (matches.length === 0)
      throw new AttuneError(
        'PEFT_NO_TARGET',
        `modulesToSave: ${model.config.modelType} has no module "${name}".${model.config.tieWordEmbeddings && name === 'lm_head' ? ' Its head is the embedding (tie_word_embeddings).' : ''}`,
        {
          remedy: `Modules: ${[...new Set([...modules.keys()].map(lastName))].filter((n) => /\D/.test(n)).join(', ')}.`,
        },
      );
    for (const [path, module] of modules)
      if (matches.some((match) => path === match || path.startsWith(`${match}.`)))
        if (holdsParameters(original(module))) found.add(path);
  }
  return [...found].map((path) => {
    const module = original(modules.get(path)!);
    checkCopy(model, path, module, modules);
    return copyOf(modules, path, [...module.ownParameters.keys()]);
  });
}

/**
 * Copies of the parameters that a method selects, by their modules.
 *
 * @throws PEFT_NO_TARGET, PEFT_QUANTIZED
 */
export function planSelection(
  method: SelectionMethod,
  base: BaseModel,
  config: PeftConfig,
  modules: ModuleTable,
): PlannedCopy[] {
  const names = new Set(method.select(base, config));
  const chosen = base.parameters.filter(({ name }) => names.has(name));
  if (chosen.length === 0 || chosen.length < names.size)
    throw new AttuneError(
      'PEFT_NO_TARGET',
      chosen.length === 0
        ? `${method.peftType} selects no parameter of ${base.modelType}.`
        : `${method.peftType} selects parameters that ${base.modelType} has not.`,
      { remedy: `Its parameters: ${base.parameters.map(({ name }) => name).join(', ')}.` },
    );
  refuseQuantized(
    method.peftType,
    modules,
    chosen.filter((p) => p.isQuantized).map((p) => pathOf(p.name)),
  );
  const parts = new Map<string, string[]>();
  for (const { name } of chosen) {
    const path = pathOf(name);
    parts.set(path, [...(parts.get(path) ?? []), lastName(name)]);
  }
  return [...parts].map(([path, names]) => copyOf(modules, path, names));
}

function copyOf(modules: ModuleTable, path: string, names: readonly string[]): PlannedCopy {
  const parameters = names.map((name) => ({
    path,
    name,
    key: name,
    fileName: `${path}.${name}`,
    shape: ownParameter(modules, path, name).shape,
    isTrained: true,
    isShared: false,
  }));
  return { kind: 'copy', path, parameters };
}

const holdsParameters = (module: Module): boolean =>
  module.ownParameters.size > 0 || module instanceof QuantizedLayer;

function checkCopy(model: LanguageModel, path: string, module: Module, modules: ModuleTable): void {
  refuseQuantized('modulesToSave', modules, module instanceof QuantizedLayer ? [path] : []);
  // PEFT would train the embedding alone and leave the head as it was: the file would mean two
  // things.
  if (model.config.tieWordEmbeddings && path.endsWith('embed_tokens'))
    throw new AttuneError(
      'PEFT_TIED_EMBEDDING',
      `modulesToSave: "${path}" is also the output head of this model (tie_word_embeddings).`,
      { remedy: 'Adapt other modules; or untie the model before training.' },
    );
}

/** The module of a parameter. */
const pathOf = (name: string): string => name.slice(0, Math.max(name.lastIndexOf('.'), 0));

/** @param paths of layers whose weight shall be trained */
function refuseQuantized(what: string, modules: ModuleTable, paths: readonly string[]): void {
  if (paths.length === 0) return;
  const more = paths.length > 1 ? ` and ${paths.length - 1} more are` : ' is';
  const { precision } = original(modules.get(paths[0]!)!) as QuantizedLayer;
  throw new AttuneError(
    'PEFT_QUANTIZED',
    `${what}: ${paths[0]}.weight${more} held in ${precision}, which cannot be trained.`,
    { remedy: 'Load the base without quantization, or adapt the layer (LORA, IA3, ...) instead.' },
  );
}
