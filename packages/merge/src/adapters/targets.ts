import { AttuneError } from '@attune/core';
import { PythonPattern } from '@attune/core/util';
import { isEmbedding, isHead } from '../plan/tensorNames.js';
import type { TensorPair } from './tensorPairs.js';

/** How a difference is written: as a LoRA pair, with the module whole, or not at all. */
export type Place = 'lora' | 'whole' | 'left';

/** What a tensor is, by its name and shape. */
export type TensorKind = 'linear' | 'conv1d' | 'embedding' | 'head' | 'other';

export interface TargetOptions {
  readonly targetModules: string | readonly string[];
  readonly excludeModules: string | readonly string[];
  readonly embedLora: boolean;
  readonly modulesToSave: 'changed' | readonly string[];
}

/** The module of a tensor: its name without the last part. */
export const moduleOf = (name: string): string => name.slice(0, name.lastIndexOf('.'));

/** Tables of positions. */
const POSITIONS = /(^|\.)(wpe|embed_positions)\.weight$/;
/** Routers and experts: transformers holds them as one tensor, which LoRA of a layer is none of. */
const EXPERT = /\.(experts\.\d+\..*|(mlp|block_sparse_moe)\.(gate|router))\.weight$/;
const GPT2 = /\.(c_attn|c_proj|c_fc)\.weight$/;

export function kindOf({ name, shape }: TensorPair, modelType: unknown): TensorKind {
  if (shape.length !== 2 || !name.endsWith('.weight') || EXPERT.test(name)) return 'other';
  if (isEmbedding(name) || POSITIONS.test(name)) return 'embedding';
  if (isHead(name)) return 'head';
  if (!/(^|\.)\d+\./.test(name)) return 'other';
  return modelType === 'gpt2' && GPT2.test(name) ? 'conv1d' : 'linear';
}

/** Whether a module's path is one of these names, or ends with one at a dot; or fits a pattern. */
function matcher(names: string | readonly string[], option: string): (path: string) => boolean {
  if (typeof names !== 'string')
    return (path) => names.some((name) => path === name || path.endsWith(`.${name}`));
  try {
    const pattern = new PythonPattern(names);
    return (path) => pattern.fullMatch(path) !== null;
  } catch (cause) {
    throw new AttuneError(
      'MERGE_EXTRACT',
      `extractAdapter: ${option} "${names}" is not a regular expression: ${(cause as Error).message}`,
      { remedy: 'Give a list of module names, or mend the expression.', cause },
    );
  }
}

/** Where the difference of a tensor goes. @throws MERGE_EXTRACT for names that no module has */
export function placer(
  options: TargetOptions,
  pairs: readonly TensorPair[],
  modelType: unknown,
): (pair: TensorPair) => Place {
  const { targetModules, modulesToSave, embedLora } = options;
  const isAll = typeof targetModules === 'string' && targetModules.toLowerCase() === 'all-linear';
  const isTarget = isAll ? () => false : matcher(targetModules, 'targetModules');
  const isExcluded = matcher(options.excludeModules, 'excludeModules');
  const isSaved =
    modulesToSave === 'changed' ? () => false : matcher(modulesToSave, 'modulesToSave');
  const byName = new Map(pairs.map((pair) => [pair.name, pair]));
  const place = (pair: TensorPair): Place => {
    const path = moduleOf(pair.name);
    const kind = kindOf(pair, modelType);
    if (isExcluded(path)) return 'left';
    if (isSaved(path)) return 'whole';
    const isLayer = kind === 'linear' || kind === 'conv1d';
    const isTable = kind === 'embedding' || kind === 'head';
    const isChosen = isAll ? isLayer : (isLayer || isTable) && isTarget(path);
    if (isChosen || (isTable && embedLora)) return 'lora';
    // The bias of a layer with a LoRA cannot be saved without the layer.
    const beside = byName.get(`${path}.weight`);
    const isFree = !beside || beside === pair || place(beside) !== 'lora';
    return modulesToSave === 'changed' && isFree ? 'whole' : 'left';
  };
  const paths = pairs.map(({ name }) => moduleOf(name));
  const check = (names: string | readonly string[], option: string) => {
    const each = typeof names === 'string' ? [names] : names;
    for (const one of each) {
      const fits = matcher(typeof names === 'string' ? one : [one], option);
      if (!paths.some(fits))
        throw new AttuneError(
          'MERGE_EXTRACT',
          `extractAdapter: ${option} "${one}" is no module of the model.`,
          { remedy: `It has ${lastNames(paths).join(', ')}.` },
        );
    }
  };
  if (!isAll) check(targetModules, 'targetModules');
  check(options.excludeModules, 'excludeModules');
  if (modulesToSave !== 'changed') check(modulesToSave, 'modulesToSave');
  return place;
}

const lastNames = (paths: readonly string[]): string[] => [
  ...new Set(paths.map((path) => path.slice(path.lastIndexOf('.') + 1))),
];

/**
 * Modules as a config names them: by their last names, where PEFT finds no other module by those;
 * else by their paths.
 *
 * @param all paths of all modules of the model
 * @param ends where a name may begin in a path: at a dot (target_modules) or anywhere
 *   (modules_to_save)
 */
export function pathsOrNames(
  paths: readonly string[],
  all: readonly string[],
  ends: 'dot' | 'anywhere',
): string[] {
  const own = new Set(paths);
  const names = lastNames(paths);
  const isFound = (path: string) =>
    names.some((name) => path === name || path.endsWith(ends === 'dot' ? `.${name}` : name));
  return all.every((path) => own.has(path) || !isFound(path)) ? names.sort() : [...paths].sort();
}
