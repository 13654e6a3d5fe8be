import { AttuneError, type LanguageModel, type LinearLike, type Module } from '@attune/core';
import { AdaptedLinear } from './adaptedLinear.js';
import { baseModules, feature, original } from './adapterSlot.js';
import { type PeftConfig, parsePeftConfig } from './config.js';
import type { LayerInfo, ParamSpecs, PeftMethod } from './definePeftMethod.js';
import { PeftMethods } from './points.js';
import { isCopyable, SavedModule } from './savedModule.js';
import { endsWithName, isAllLinear, matchTargets, unmatchedEntries } from './targets.js';

/** What a config means on one model: known in full before anything is changed. */
export interface AdapterPlan {
  readonly method: PeftMethod;
  /** The config with targetModules as they were resolved. */
  readonly config: PeftConfig;
  readonly layers: readonly PlannedLayer[];
  /** Modules whose bias is trained, and its name in files. */
  readonly biases: readonly { readonly path: string; readonly fileName: string }[];
  /** Modules of modulesToSave: those in them that hold parameters. */
  readonly saved: readonly string[];
  /** Names in files of everything that is trained, with the shapes. */
  readonly tensors: ReadonlyMap<string, readonly number[]>;
  /** Entries of targetModules that match nothing, beside others that do. */
  readonly unmatched: readonly string[];
}

interface ConfigSource {
  /** How messages call it, e.g. "peftConfig" or a file's path. */
  readonly label: string;
  readonly isFile: boolean;
}

interface PlannedLayer {
  readonly info: LayerInfo;
  readonly config: PeftConfig;
  readonly specs: ParamSpecs;
}

type ModuleTable = ReadonlyMap<string, Module>;

/**
 * Parses a config as it was written and matches it to a model.
 *
 * @throws PEFT_TYPE_UNKNOWN, PEFT_CONFIG_INVALID, PEFT_CONFIG_UNKNOWN_KEY, PEFT_UNSUPPORTED_OPTION,
 *   and as planAdapter
 */
export function planFrom(
  model: LanguageModel,
  fields: Readonly<Record<string, unknown>>,
  source: ConfigSource,
): AdapterPlan {
  const { logger } = model.attune;
  const method = methodOf(model, fields.peftType ?? fields.peft_type, source.label);
  const warn = (message: string) => logger.warn(message);
  const parsed = parsePeftConfig(method, fields, { ...source, warn });
  const plan = planAdapter(model, method, {
    ...parsed,
    taskType: parsed.taskType ?? 'CAUSAL_LM',
    baseModelNameOrPath: parsed.baseModelNameOrPath ?? model.nameOrPath,
  });
  if (plan.unmatched.length > 0)
    warn(
      `targetModules ${JSON.stringify(plan.unmatched)} match no module of ${model.config.modelType}; the others do.`,
    );
  return plan;
}

function methodOf(model: LanguageModel, peftType: unknown, label: string): PeftMethod {
  const methods = model.attune.registry(PeftMethods);
  if (typeof peftType === 'string' && methods.has(peftType)) return methods.get(peftType);
  throw new AttuneError(
    'PEFT_TYPE_UNKNOWN',
    peftType === undefined
      ? `${label} has no peftType.`
      : `${label}: unknown peftType ${JSON.stringify(peftType)}.`,
    {
      remedy: `Known: ${methods.names.join(', ') || 'none'}. Methods come with plugins: createAttune({ plugins: [..., peft()] }).`,
      details: { known: methods.names },
    },
  );
}

/**
 * Matches a config to a model.
 *
 * @throws PEFT_NO_TARGET, PEFT_TARGETS_NEEDED, PEFT_TARGET_NOT_LINEAR, PEFT_NOT_COPYABLE,
 *   PEFT_TIED_EMBEDDING, PEFT_CONFLICT
 */
export function planAdapter(
  model: LanguageModel,
  method: PeftMethod,
  given: PeftConfig,
): AdapterPlan {
  const modules: ModuleTable = new Map(baseModules(model.root));
  const { config, paths, unmatched } = resolveTargets(model, method, given, modules);
  const saved = savedPaths(model, config.modulesToSave ?? [], modules);
  const layers = paths.map((path) => planLayer(path, modules, method, config));
  const biases = biasesOf(config, paths, saved, modules);
  refuseConflicts(paths, saved, modules);
  const tensors = shapes(layers, biases, saved, modules);
  return { method, config, layers, biases, saved, tensors, unmatched };
}

function resolveTargets(
  model: LanguageModel,
  method: PeftMethod,
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
    .map(([path, module]) => ({ path, isLinear: isLinearLike(original(module)) }));
  const paths = matchTargets(candidates, targetModules, given, modelType);
  const unmatched = unmatchedEntries(candidates, targetModules);
  const resolved = isAllLinear(targetModules)
    ? shortestNames(
        paths,
        candidates.map((c) => c.path),
      )
    : typeof targetModules === 'string'
      ? targetModules
      : [...targetModules];
  return { config: { ...given, targetModules: resolved }, paths, unmatched };
}

/** Plain, quantised or from a plugin: what says how wide it is. */
const isLinearLike = (module: Module): module is LinearLike =>
  feature(module, 'inFeatures') !== undefined && feature(module, 'outFeatures') !== undefined;

/** "all-linear" as a list that other tools read: last names where they are enough, whole paths where not. */
function shortestNames(paths: readonly string[], all: readonly string[]): string[] {
  const chosen = new Set(paths);
  const shorten = (path: string) => {
    const name = lastName(path);
    return all.every((p) => chosen.has(p) || !endsWithName(p, name)) ? name : path;
  };
  return [...new Set(paths.map(shorten))];
}

const lastName = (path: string): string => path.slice(path.lastIndexOf('.') + 1);

function savedPaths(
  model: LanguageModel,
  names: readonly string[],
  modules: ModuleTable,
): string[] {
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
        if (original(module).ownParameters.size > 0) found.add(path);
  }
  for (const path of found) checkCopy(model, path, original(modules.get(path)!));
  return [...found];
}

function checkCopy(model: LanguageModel, path: string, module: Module): void {
  if (!isCopyable(module))
    throw new AttuneError(
      'PEFT_NOT_COPYABLE',
      `modulesToSave: "${path}" (${module.constructor.name}) cannot be copied.`,
      { remedy: 'Linear layers, embeddings and norms can; name those in it.' },
    );
  // PEFT would train the embedding alone and leave the head as it was: the file would mean two things.
  if (model.config.tieWordEmbeddings && path.endsWith('embed_tokens'))
    throw new AttuneError(
      'PEFT_TIED_EMBEDDING',
      `modulesToSave: "${path}" is also the output head of this model (tie_word_embeddings).`,
      { remedy: 'Adapt other modules; or untie the model before training.' },
    );
}

function planLayer(
  path: string,
  modules: ModuleTable,
  method: PeftMethod,
  config: PeftConfig,
): PlannedLayer {
  const linear = original(modules.get(path)!) as LinearLike;
  const info: LayerInfo = {
    path,
    inFeatures: linear.inFeatures,
    outFeatures: linear.outFeatures,
    hasBias: linear.ownParameters.has('bias'),
  };
  const layerConfig = method.layerConfig?.(config, path) ?? config;
  return { info, config: layerConfig, specs: method.params(info, layerConfig) };
}

function biasesOf(
  config: PeftConfig,
  paths: readonly string[],
  saved: readonly string[],
  modules: ModuleTable,
) {
  if (config.bias === 'none') return [];
  const adapted = new Set(paths);
  const whole = new Set(saved);
  return [...modules]
    .filter(([path, module]) => original(module).ownParameters.has('bias') && !whole.has(path))
    .filter(([path]) => config.bias === 'all' || adapted.has(path))
    .map(([path]) => ({
      path,
      fileName: adapted.has(path) ? `${path}.base_layer.bias` : `${path}.bias`,
    }));
}

/** A module is either adapted or saved whole, for all adapters of a model. */
function refuseConflicts(
  paths: readonly string[],
  saved: readonly string[],
  modules: ModuleTable,
): void {
  const conflict =
    paths.find((path) => saved.includes(path) || modules.get(path) instanceof SavedModule) ??
    saved.find((path) => modules.get(path) instanceof AdaptedLinear);
  if (conflict === undefined) return;
  throw new AttuneError(
    'PEFT_CONFLICT',
    `"${conflict}" is in modulesToSave and in targetModules, of one adapter or of two on this model.`,
    { remedy: 'Leave the module out of one of them, or delete the other adapter.' },
  );
}

function shapes(
  layers: readonly PlannedLayer[],
  biases: AdapterPlan['biases'],
  saved: readonly string[],
  modules: ModuleTable,
): Map<string, readonly number[]> {
  const all = new Map<string, readonly number[]>();
  for (const { info, specs } of layers)
    for (const [name, spec] of Object.entries(specs))
      all.set(`${info.path}.${spec.key ?? name}`, spec.shape);
  for (const { path, fileName } of biases)
    all.set(fileName, original(modules.get(path)!).ownParameters.get('bias')!.shape);
  for (const path of saved)
    for (const [name, parameter] of original(modules.get(path)!).ownParameters)
      all.set(`${path}.${name}`, parameter.shape);
  return all;
}
