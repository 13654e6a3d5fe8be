import {
  AttuneError,
  Embedding,
  type LanguageModel,
  type LinearLike,
  type Module,
  nearest,
  QuantizedLinear,
} from '@attune/core';
import { type PeftConfig, parsePeftConfig } from '../contract/config.js';
import type {
  BaseModel,
  LayerInfo,
  ParamSpecs,
  PeftMethod,
  SharedSpecs,
} from '../contract/definePeftMethod.js';
import { endsWithName, isAllLinear } from '../contract/patterns.js';
import { PeftMethods } from '../contract/points.js';
import { AdapterSlot, baseModules, feature, original } from '../slots/adapterSlot.js';
import { type PlannedPrompt, PROMPT_EMBEDDINGS } from '../slots/promptSlot.js';
import { SavedModule } from '../slots/savedModule.js';
import { TrainedBias } from '../slots/trainedBias.js';
import { fitVirtualTokens, planVirtualTokens } from './planVirtualTokens.js';
import { matchTargets } from './targets.js';
import { unmatchedOptions } from './unmatched.js';

/** What a config means on one model: known in full before anything is changed. */
export interface AdapterPlan {
  readonly method: PeftMethod;
  /** The config with targetModules as they were resolved. */
  readonly config: PeftConfig;
  readonly layers: readonly PlannedLayer[];
  /** Modules whose bias is trained, and its name in files. */
  readonly biases: readonly { readonly path: string; readonly fileName: string }[];
  /** Modules whose parameters are trained as copies, of modulesToSave or selected by the method, and which of them. */
  readonly saved: readonly SavedPart[];
  /** Virtual tokens; null: the method gives none. */
  readonly prompt: PlannedPrompt | null;
  /** What all adapted layers read. */
  readonly shared: SharedSpecs;
  /** Names in files of everything that is trained, with the shapes. */
  readonly tensors: ReadonlyMap<string, readonly number[]>;
  /** What of the config matches nothing, beside what does: a sentence each. */
  readonly unmatched: readonly string[];
}

interface SavedPart {
  readonly path: string;
  readonly parameters: readonly string[];
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
 * @throws PEFT_TYPE_UNKNOWN, PEFT_CONFIG_INVALID, UNKNOWN_OPTION, PEFT_UNSUPPORTED_OPTION,
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
    ...taskOf(model, parsed),
    baseModelNameOrPath: parsed.baseModelNameOrPath ?? model.nameOrPath,
  });
  for (const sentence of plan.unmatched) warn(`${source.label}: ${sentence}`);
  if (!source.isFile) for (const { info, config } of plan.layers) method.checkNew?.(info, config);
  const tied = plan.layers.find(({ info }) => info.embedding?.tied);
  if (tied)
    warn(
      `"${tied.info.path}" is the output head too (tie_word_embeddings): its adapter changes what ids are looked up as, not the head, as in PEFT, and cannot be merged.`,
    );
  return plan;
}

/** What the model is for. A head that is not the language model's is trained with the adapter, as PEFT does for SEQ_CLS. */
function taskOf(model: LanguageModel, { taskType, modulesToSave }: PeftConfig) {
  const { headModules = [] } = model;
  if (headModules.length === 0) return { taskType: taskType ?? model.taskType };
  // For SEQ_CLS PEFT lists both names that heads have, whichever the model has.
  const others = (modulesToSave ?? []).filter((name) => name !== 'classifier');
  return {
    taskType: taskType ?? model.taskType,
    modulesToSave: [...new Set([...others, ...headModules])],
  };
}

function methodOf(model: LanguageModel, peftType: unknown, label: string): PeftMethod {
  const methods = model.attune.registry(PeftMethods);
  if (typeof peftType === 'string' && methods.has(peftType)) return methods.get(peftType);
  const near = typeof peftType === 'string' ? nearest(peftType, methods.names) : undefined;
  throw new AttuneError(
    'PEFT_TYPE_UNKNOWN',
    peftType === undefined
      ? `${label} has no peftType.`
      : `${label}: unknown peftType ${JSON.stringify(peftType)}.`,
    {
      remedy: `${peftType === undefined ? "Add one: peftType: 'LORA'. " : near ? `Did you mean "${near}"? ` : ''}Known: ${methods.names.join(', ') || 'none'}. Methods come with plugins: createAttune({ plugins: [..., peft()] }).`,
      details: { known: methods.names },
    },
  );
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
  given: PeftConfig,
): AdapterPlan {
  const modules: ModuleTable = new Map(baseModules(model.root));
  const base = baseModel(model, modules);
  const fitted = method.prompt ? fitVirtualTokens(given, method.prompt.gives, base) : given;
  const resolved = method.resolve?.(fitted, base) ?? fitted;
  const nothing = { layers: [], biases: [], shared: {}, unmatched: [], prompt: null };
  if (method.prompt) {
    const saved = savedParts(model, resolved.modulesToSave ?? [], modules);
    refuseConflicts([], [], saved, modules);
    const prompt = planVirtualTokens(method, resolved, base);
    const tensors = shapes([], {}, [], saved, modules).set(PROMPT_EMBEDDINGS, prompt.shape);
    return { ...nothing, method, config: resolved, saved, prompt, tensors };
  }
  if (method.select) {
    const whole = savedParts(model, resolved.modulesToSave ?? [], modules);
    const isWhole = (path: string) => whole.some((part) => part.path === path);
    const saved = [
      ...selected(method, base, resolved).filter(({ path }) => !isWhole(path)),
      ...whole,
    ];
    refuseConflicts([], [], saved, modules);
    const tensors = shapes([], {}, [], saved, modules);
    const subject = { modules: [...modules.keys()], adapted: null, modelType: base.modelType };
    const unmatched = unmatchedOptions(resolved, subject);
    return { ...nothing, method, config: resolved, saved, tensors, unmatched };
  }
  const { config, paths } = resolveTargets(model, method, resolved, modules);
  // A default of the method is no choice of the user's.
  const { feedforwardModules } = given;
  const unmatched = unmatchedOptions(
    { ...config, feedforwardModules },
    {
      modules: [...modules.keys()].filter((path) => path !== ''),
      adapted: paths,
      modelType: base.modelType,
    },
  );
  const saved = savedParts(model, config.modulesToSave ?? [], modules);
  const tied = tiedEmbedding(model, modules);
  const layers = paths.map((path) => planLayer(path, modules, method, config, base, tied));
  const infos = layers.map(({ info }) => info);
  const shared = method.shared?.(infos, config) ?? {};
  const biases = biasesOf(config, paths, saved, modules);
  refuseConflicts(paths, biases, saved, modules);
  const tensors = shapes(layers, shared, biases, saved, modules);
  return { method, config, layers, biases, saved, prompt: null, shared, tensors, unmatched };
}

function baseModel({ config }: LanguageModel, modules: ModuleTable): BaseModel {
  const { modelType, vocabSize, hiddenSize, numHiddenLayers, tieWordEmbeddings } = config;
  const { numAttentionHeads, numKeyValueHeads, headDim } = config;
  const parameters = [...modules].flatMap(([path, slot]) => {
    const module = original(slot);
    const own = [...module.ownParameters].map(([name, { shape }]) => {
      return { name: path ? `${path}.${name}` : name, shape, isQuantized: false };
    });
    if (!(module instanceof QuantizedLinear)) return own;
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

/** The parameters that a method selects, by their modules. */
function selected(method: PeftMethod, base: BaseModel, config: PeftConfig): SavedPart[] {
  const names = new Set(method.select!(base, config));
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
    chosen.filter((p) => p.isQuantized).map((p) => p.name),
  );
  const parts = new Map<string, string[]>();
  for (const { name } of chosen) {
    const dot = name.lastIndexOf('.');
    const path = name.slice(0, Math.max(dot, 0));
    parts.set(path, [...(parts.get(path) ?? []), name.slice(dot + 1)]);
  }
  return [...parts].map(([path, parameters]) => ({ path, parameters }));
}

function refuseQuantized(what: string, names: readonly string[]): void {
  if (names.length === 0) return;
  throw new AttuneError(
    'PEFT_QUANTIZED',
    `${what}: ${names[0]}${names.length > 1 ? ` and ${names.length - 1} more` : ''} ${names.length > 1 ? 'are' : 'is'} held in 4 or 8 bits, which cannot be trained.`,
    { remedy: 'Load the base without quantization, or adapt the layer (LORA, IA3, ...) instead.' },
  );
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
  // In PEFT's class of such a model a name is found in the other towers too, which are not there to be adapted.
  const isNested = model.config.nested && !('feedforwardModules' in given);
  return { config: { ...given, targetModules: isNested ? [...paths] : resolved }, paths };
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

function savedParts(
  model: LanguageModel,
  names: readonly string[],
  modules: ModuleTable,
): SavedPart[] {
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
    checkCopy(model, path, module);
    return { path, parameters: [...module.ownParameters.keys()] };
  });
}

const holdsParameters = (module: Module): boolean =>
  module.ownParameters.size > 0 || module instanceof QuantizedLinear;

function checkCopy(model: LanguageModel, path: string, module: Module): void {
  refuseQuantized('modulesToSave', module instanceof QuantizedLinear ? [`${path}.weight`] : []);
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
  { hiddenSize }: BaseModel,
  tied: Module | undefined,
): PlannedLayer {
  const module = original(modules.get(path)!);
  const hasBias = module.ownParameters.has('bias');
  const info: LayerInfo =
    module instanceof Embedding
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
  const layerConfig = method.layerConfig?.(config, path) ?? config;
  return { info, config: layerConfig, specs: method.params!(info, layerConfig) };
}

/** The table of the token ids, the first of the tree, where the head is that too. */
function tiedEmbedding(model: LanguageModel, modules: ModuleTable): Module | undefined {
  if (!model.config.tieWordEmbeddings || model.taskType !== 'CAUSAL_LM') return undefined;
  return [...modules.values()].map(original).find((module) => module instanceof Embedding);
}

function biasesOf(
  config: PeftConfig,
  paths: readonly string[],
  saved: readonly SavedPart[],
  modules: ModuleTable,
) {
  if (config.bias === 'none') return [];
  const adapted = new Set(paths);
  const whole = new Set(saved.map(({ path }) => path));
  return [...modules]
    .filter(([path, module]) => original(module).ownParameters.has('bias') && !whole.has(path))
    .filter(([path]) => config.bias === 'all' || adapted.has(path))
    .map(([path]) => ({
      path,
      fileName: adapted.has(path) ? `${path}.base_layer.bias` : `${path}.bias`,
    }));
}

/** An adapter either adapts a module or saves it; and a bias has one kind of copy on a model. */
function refuseConflicts(
  paths: readonly string[],
  biases: AdapterPlan['biases'],
  saved: readonly SavedPart[],
  modules: ModuleTable,
): void {
  const whole = saved.find(({ path }) => paths.includes(path));
  if (whole)
    throw new AttuneError(
      'PEFT_CONFLICT',
      `"${whole.path}" is in modulesToSave and in targetModules.`,
      { remedy: 'Leave the module out of one of them.' },
    );
  const bias =
    saved.find((p) => p.parameters.includes('bias') && hasSlot(modules.get(p.path), TrainedBias)) ??
    biases.find(({ path }) => hasSlot(modules.get(path), SavedModule));
  if (bias)
    throw new AttuneError(
      'PEFT_CONFLICT',
      `the bias of "${bias.path}" is trained by the option \`bias\` of one adapter, and whole by another on this model.`,
      { remedy: 'Delete the other adapter, or leave the bias out of one of them.' },
    );
}

function hasSlot(module: Module | undefined, type: new (...args: never[]) => AdapterSlot): boolean {
  if (!(module instanceof AdapterSlot)) return false;
  return hasSlot(module.inner, type) || module instanceof type;
}

function shapes(
  layers: readonly PlannedLayer[],
  shared: SharedSpecs,
  biases: AdapterPlan['biases'],
  saved: readonly SavedPart[],
  modules: ModuleTable,
): Map<string, readonly number[]> {
  const all = new Map<string, readonly number[]>();
  for (const { info, specs } of layers)
    for (const [name, spec] of Object.entries(specs))
      if (!spec.frozen) all.set(`${info.path}.${spec.key ?? name}`, spec.shape);
  for (const { path, fileName } of biases)
    all.set(fileName, original(modules.get(path)!).ownParameters.get('bias')!.shape);
  for (const [name, { key = name, shape, saved: isSaved = true }] of Object.entries(shared))
    if (isSaved) all.set(key, shape);
  for (const { path, parameters } of saved)
    for (const name of parameters)
      all.set(`${path}.${name}`, original(modules.get(path)!).ownParameters.get(name)!.shape);
  return all;
}
