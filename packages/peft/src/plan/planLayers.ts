import { AttuneError, type LanguageModel } from '@attune/core';
import { Embedding, type LinearLike, type Module } from '@attune/core/nn';
import type { PeftConfig } from '../contract/config.js';
import type { LayerInfo } from '../contract/layerInfo.js';
import type { LayerMethod } from '../contract/methodKinds.js';
import type { SharedSpecs } from '../contract/paramSpec.js';
import { endsWithName, isAllLinear } from '../contract/patterns.js';
import { feature, original } from '../slots/adapterSlot.js';
import type { NewParameter, PlannedBias, PlannedCopy, PlannedLayer } from '../slots/plannedSlot.js';
import { lastName, type ModuleTable, ownParameter, tiedEmbedding } from './baseFacts.js';
import { matchTargets } from './targets.js';

/**
 * Which layers a config means, and the config with them named.
 *
 * @throws PEFT_TARGETS_NEEDED, PEFT_NO_TARGET, PEFT_TARGET_NOT_LINEAR
 */
export function resolveTargets(
  model: LanguageModel,
  method: LayerMethod,
  given: PeftConfig,
  modules: ModuleTable,
) {
  const { modelType } = model.config;
  const targetModules = given.targetModules ?? method.defaultTargetModules?.[modelType];
  if (!targetModules)
    throw new AttuneError(
      'PEFT_TARGETS_NEEDED',
      `${method.peftType} has no default targetModules for ${modelType}.`,
      { remedy: 'Give targetModules, e.g. "all-linear".' },
    );
  const candidates = [...modules]
    .filter(([path]) => path !== '')
    .map(([path, slot]) => {
      const module = original(slot);
      return { path, isLinear: isLinearLike(module), isEmbedding: module instanceof Embedding };
    });
  const paths = matchTargets(candidates, targetModules, given, modelType, method.targets);
  const resolved = isAllLinear(targetModules)
    ? shortestNames(
        paths,
        candidates.map((c) => c.path),
      )
    : typeof targetModules === 'string'
      ? targetModules
      : [...targetModules];
  // In PEFT's class of such a model a name is found in the other towers too, which are not there to
  // be adapted.
  const isNested = model.config.nested && !('feedforwardModules' in given);
  return { config: { ...given, targetModules: isNested ? [...paths] : resolved }, paths };
}

/** Plain, quantised or from a plugin: what says how wide it is. */
const isLinearLike = (module: Module): module is LinearLike =>
  feature(module, 'inFeatures') !== undefined && feature(module, 'outFeatures') !== undefined;

/**
 * "all-linear" as a list that other tools read: last names where they are enough, whole paths where
 * not.
 */
function shortestNames(paths: readonly string[], all: readonly string[]): string[] {
  const chosen = new Set(paths);
  const shorten = (path: string) => {
    const name = lastName(path);
    return all.every((p) => chosen.has(p) || !endsWithName(p, name)) ? name : path;
  };
  return [...new Set(paths.map(shorten))];
}

/** The layers at these paths, with what they share after what is theirs. */
export function planLayers(
  model: LanguageModel,
  method: LayerMethod,
  config: PeftConfig,
  paths: readonly string[],
  modules: ModuleTable,
): PlannedLayer[] {
  const tied = tiedEmbedding(model, modules);
  const layers = paths.map((path) => {
    const layer = infoOf(path, modules, model.config.hiddenSize, tied);
    const own = method.layerConfig?.(config, path) ?? config;
    return { path, layer, config: own, specs: method.params(layer, own) };
  });
  const infos = layers.map(({ layer }) => layer);
  const shared = method.shared?.(infos, config) ?? {};
  return layers.map(({ path, layer, config: own, specs }) => ({
    kind: 'layer',
    path,
    method,
    layer,
    config: own,
    parameters: [...ownTensors(path, specs), ...sharedTensors(path, shared)],
  }));
}

const ownTensors = (path: string, specs: ReturnType<LayerMethod['params']>): NewParameter[] =>
  Object.entries(specs).map(([name, { key = name, shape, init, frozen = false }]) => ({
    path,
    name,
    key,
    fileName: frozen ? null : `${path}.${key}`,
    shape,
    init,
    isTrained: !frozen,
    isShared: false,
  }));

const sharedTensors = (path: string, specs: SharedSpecs): NewParameter[] =>
  Object.entries(specs).map(([name, { key = name, shape, init, saved = true }]) => ({
    path,
    name,
    key,
    fileName: saved ? key : null,
    shape,
    init,
    isTrained: false,
    isShared: true,
  }));

function infoOf(
  path: string,
  modules: ModuleTable,
  hiddenSize: number,
  tied: Module | undefined,
): LayerInfo {
  const module = original(modules.get(path)!);
  const hasBias = module.ownParameters.has('bias');
  return module instanceof Embedding
    ? {
        path,
        inFeatures: module.vocabSize,
        outFeatures: module.features,
        hasBias,
        embedding: {
          scale: module.scale,
          paddingIdx: module.paddingIdx,
          tied: module === tied,
        },
      }
    : {
        path,
        inFeatures: feature(module, 'inFeatures') ?? hiddenSize,
        outFeatures: feature(module, 'outFeatures') ?? hiddenSize,
        hasBias,
      };
}

/** Biases that the option `bias` trains. */
export function planBiases(
  config: PeftConfig,
  paths: readonly string[],
  copies: readonly PlannedCopy[],
  modules: ModuleTable,
): PlannedBias[] {
  if (config.bias === 'none') return [];
  const adapted = new Set(paths);
  const whole = new Set(copies.map(({ path }) => path));
  return [...modules]
    .filter(([path, module]) => original(module).ownParameters.has('bias') && !whole.has(path))
    .filter(([path]) => config.bias === 'all' || adapted.has(path))
    .map(([path]) => {
      const planned = {
        path,
        name: 'bias',
        key: 'bias',
        fileName: adapted.has(path) ? `${path}.base_layer.bias` : `${path}.bias`,
        shape: ownParameter(modules, path, 'bias').shape,
        isTrained: true,
        isShared: false,
      };
      return { kind: 'bias', path, parameters: [planned] };
    });
}
