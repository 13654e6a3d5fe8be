import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { AttuneError } from '@attune/core';
import { nearest, parseOptions } from '@attune/core/util';
import type { MergeConfig } from '../config/mergeConfig.js';
import { ParameterProblems } from '../config/resolveParameters.js';
import { type MergeMethod, MergeMethods } from '../contract/mergeMethod.js';
import { openModels } from '../inputs/openModels.js';
import { namedModels } from '../inputs/references.js';
import { builtinMethods } from '../methods/index.js';
import { type PlanMergeOptions, planOptions } from '../options.js';
import { MergeProblems } from '../problems.js';
import { compareTokenizers } from '../tokenizer/compareTokenizers.js';
import { outputTokenizer, type TokenizerModel } from '../tokenizer/outputTokenizer.js';
import { checkModels } from './checkModels.js';
import { checkSections } from './checkSections.js';
import { checkTensors } from './checkTensors.js';
import { promoted } from './dtypes.js';
import { textConfigOf } from './layout.js';
import { type MergeableModel, mergeableModel } from './mergeableModel.js';
import type { MergePlan } from './mergePlan.js';
import { layerOrigins, outConfig } from './outConfig.js';
import { leftOut, plannedTensors, sectionsOf } from './plannedTensors.js';
import { isEmbedding, isHead } from './tensorNames.js';
import { type PlannedTask, tensorTask } from './tensorTasks.js';

/** The built-in methods, those of an Attune, and those given: of one name the last counts. */
export function methodsOf({ attune, methods = [] }: PlanMergeOptions): MergeMethod[] {
  const registry = attune?.registry(MergeMethods);
  const added = registry ? registry.names.map((name) => registry.get(name)) : [];
  const byName = new Map([...builtinMethods, ...added, ...methods].map((m) => [m.name, m]));
  return [...byName.values()];
}

/**
 * Plans a merge from a config that was read: opens the models, and checks all that configs and
 * headers show. No weight is read.
 *
 * @throws MERGE_INVALID with all that is wrong
 */
export async function planConfig(
  config: MergeConfig,
  options: PlanMergeOptions,
): Promise<MergePlan> {
  const parsed = parseOptions(planOptions, options, { where: 'planMerge' });
  const { attune, hub, parity, seed, unsafeTruncateEmbeddings } = parsed;
  const method = methodOf(config, methodsOf(options));
  const problems = new MergeProblems();
  const opened = await openModels(config, { attune, hub }, problems);
  problems.throwIfAny(config);

  const models = new Map<string, MergeableModel>();
  let first: MergeableModel | null = null;
  for (const [key, model] of opened) {
    const mergeable = mergeableModel(model, first);
    first ??= mergeable;
    models.set(key, mergeable);
  }
  const donor = first!;
  const placed = namedModels(config).map(({ reference, path }) => ({
    model: models.get(reference.key)!,
    path,
  }));
  const warnings: string[] = [...config.warnings, ...revisionsOfFolders(config, models)];
  const odd = checkModels(placed, problems, warnings);
  const sections = sectionsOf(config, models);
  const isLaidOut = checkSections(config, sections, odd, problems);
  if (odd.size > 0 || !isLaidOut) problems.throwIfAny(config);

  const planned = plannedTensors(sections);
  const extra = leftOut(sections);
  if (extra.length > 0)
    warnings.push(
      `Slices leave out ${extra.length} tensors of layers past the number in config.json: ${extra[0]}${extra.length > 1 ? ', ...' : ''}.`,
    );
  const rowsMayDiffer = config.tokenizer !== null || unsafeTruncateEmbeddings;
  checkTensors(planned, problems, { rowsMayDiffer });
  const tokenizer = await outputTokenizer(config, tokenizerModels(models), problems);
  const { rows } = tokenizer;
  const parameters = new ParameterProblems();
  const tasks = planned
    .filter(({ inputs }) => inputs.every(({ tensor }) => tensor !== null))
    .map((tensor) =>
      tensorTask(tensor, { config, method, parity, rows }, { parameters, others: problems }),
    );
  parameters.reportTo(problems);
  problems.throwIfAny(config);
  warnings.push(...parameters.unusedFilters(config));

  const { config: raw, configSource } = donor.opened.files;
  const changes = {
    dtype: config.outDtype ?? config.dtype ?? otherDType(tasks, donor),
    vocabSize: rows?.numRows ?? vocabSizeOf(tasks, donor),
    tied: tiedOf(tasks, donor),
    layers: layerOrigins(sections),
  };
  const made = tokenizer.withTokenIds(outConfig(raw, changes, warnings));
  warnings.push(...tokenizer.warnings);
  if (config.tokenizer === null) warnings.push(...(await tokenizerWarnings(models)));
  return {
    config,
    method,
    tasks: tasks.map(({ task }) => task),
    requests: new Map(
      tasks.flatMap(({ task, request }) => (request ? [[task.name, request] as const] : [])),
    ),
    outConfig: made,
    outConfigSource: configSource,
    files: tokenizer.files,
    tokenizerChanges: tokenizer.changes,
    folders: new Map([...models].map(([key, { opened: o }]) => [key, o.files.folder])),
    warnings,
    seed,
  };
}

function methodOf(config: MergeConfig, methods: readonly MergeMethod[]): MergeMethod {
  const method = methods.find(({ name }) => name === config.mergeMethod);
  if (method) return method;
  const names = methods.map(({ name }) => name);
  const near = nearest(config.mergeMethod, names);
  throw new AttuneError('MERGE_METHOD', `there is no merge method "${config.mergeMethod}".`, {
    remedy: near ? `Did you mean "${near}"?` : `There are: ${names.join(', ')}.`,
  });
}

/** In the order of the config, the first the one whose config the output has. */
const tokenizerModels = (models: ReadonlyMap<string, MergeableModel>): TokenizerModel[] =>
  [...models].map(([key, { opened, embedding, stored }]) => {
    const { folder, tensors } = opened.files;
    const table = embedding === null ? undefined : tensors.get(stored.get(embedding)!);
    return { key, folder, numRows: table?.shape[0] ?? 0 };
  });

/** A folder has no revisions: mergekit passes over them, too. */
function revisionsOfFolders(
  config: MergeConfig,
  models: ReadonlyMap<string, MergeableModel>,
): string[] {
  const isFolder = (path: string, folder: string) =>
    resolve(path) === folder || existsSync(join(path, 'config.json'));
  return namedModels(config).flatMap(({ reference: { key, path, revision } }) =>
    revision !== null && isFolder(path, models.get(key)!.opened.files.folder)
      ? [
          `${key}: ${path} is a folder, of which there is no revision "${revision}"; it is taken as it is.`,
        ]
      : [],
  );
}

/** The dtype of what is written, where it is one, and another than the first model's. */
function otherDType(tasks: readonly PlannedTask[], donor: MergeableModel): MergeConfig['dtype'] {
  const dtypes = new Set(tasks.flatMap(({ task: t }) => (t.method === null ? [] : [t.dtype])));
  if (dtypes.size !== 1) return null;
  const dtype = promoted([...dtypes]);
  const { config } = donor.opened.files;
  const text = textConfigOf(config);
  const said = config.dtype ?? config.torch_dtype ?? text.dtype ?? text.torch_dtype;
  return said === undefined || said === dtype ? null : dtype;
}

/** Rows of the embedding, where they are others than the first model's. */
function vocabSizeOf(tasks: readonly PlannedTask[], donor: MergeableModel): number | null {
  const embedding = tasks.find(({ task }) => isEmbedding(task.name))?.task.shape[0];
  const stored = donor.embedding === null ? undefined : donor.stored.get(donor.embedding);
  const own = stored === undefined ? undefined : donor.opened.files.tensors.get(stored)!.shape[0];
  return embedding === undefined || embedding === own ? null : embedding;
}

/**
 * A head that is written beside the embedding is its own; where none is written although the first
 * model has one, the embedding is the head. null: the config is right as it is.
 */
function tiedOf(tasks: readonly PlannedTask[], donor: MergeableModel): boolean | null {
  if (!tasks.some(({ task }) => isEmbedding(task.name))) return null;
  const { tie_word_embeddings: said } = donor.opened.files.config;
  if (tasks.some(({ task }) => isHead(task.name))) return said === false ? null : false;
  return donor.head !== null && said !== true ? true : null;
}

async function tokenizerWarnings(
  models: ReadonlyMap<string, MergeableModel>,
): Promise<readonly string[]> {
  const keys = new Map<string, string>();
  for (const [key, { opened }] of models)
    if (!keys.has(opened.files.folder)) keys.set(opened.files.folder, key);
  const [first] = keys.values();
  const differences = await compareTokenizers([...keys.keys()]);
  return differences.flatMap(({ folder, vocabulary, splitting, unreadable }) => {
    const key = keys.get(folder)!;
    if (unreadable !== null)
      return [
        `The tokenizers of ${key} and ${first} cannot be compared: ${unreadable.replace(/\.$/, '')}.`,
      ];
    if (vocabulary !== null)
      return [
        `The tokenizer of ${key} is another than that of ${first}, which the output has: ${vocabulary}. Embeddings are merged by their ids; tokenizer: { source: union } lines them up by tokens.`,
      ];
    if (splitting !== null)
      return [
        `The tokenizer of ${key} cuts text otherwise than that of ${first}, which the output has: ${splitting}.`,
      ];
    return [];
  });
}
