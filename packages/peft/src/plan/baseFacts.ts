import type { LanguageModel } from '@attune/core';
import { Embedding, type Module, QuantizedLayer } from '@attune/core/nn';
import type { BaseModel } from '../contract/baseModel.js';
import { original } from '../slots/adapterSlot.js';

/** The modules of the base model by their paths, slots in the place of what they wrap. */
export type ModuleTable = ReadonlyMap<string, Module>;

/** What a method may know of the model. */
export function baseModel({ config }: LanguageModel, modules: ModuleTable): BaseModel {
  const { modelType, vocabSize, hiddenSize, numHiddenLayers, tieWordEmbeddings } = config;
  const { numAttentionHeads, numKeyValueHeads, headDim } = config;
  const parameters = [...modules].flatMap(([path, slot]) => {
    const module = original(slot);
    const own = [...module.ownParameters].map(([name, { shape }]) => {
      return { name: path ? `${path}.${name}` : name, shape, isQuantized: false };
    });
    if (!(module instanceof QuantizedLayer)) return own;
    const shape = [module.outFeatures, module.inFeatures];
    return [{ name: `${path}.weight`, shape, isQuantized: true }, ...own];
  });
  return {
    modelType,
    vocabSize,
    hiddenSize,
    numHiddenLayers,
    numAttentionHeads,
    numKeyValueHeads,
    headDim,
    tieWordEmbeddings,
    parameters,
  };
}

/** The table of the token ids, the first of the tree, where the head is that too. */
export function tiedEmbedding(model: LanguageModel, modules: ModuleTable): Module | undefined {
  if (!model.config.tieWordEmbeddings || model.taskType !== 'CAUSAL_LM') return undefined;
  return [...modules.values()].map(original).find((module) => module instanceof Embedding);
}

export const lastName = (path: string): string => path.slice(path.lastIndexOf('.') + 1);

/** A parameter of the base's own. */
export const ownParameter = (modules: ModuleTable, path: string, name: string) =>
  original(modules.get(path)!).ownParameters.get(name)!;
