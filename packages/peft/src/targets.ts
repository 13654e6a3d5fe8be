import { AttuneError, nearest } from '@attune/core';
import type { CommonConfig } from './config.js';
import type { Targets } from './definePeftMethod.js';

/** One module of a model as target matching sees it. */
export interface Candidate {
  readonly path: string;
  readonly isLinear: boolean;
  readonly isEmbedding?: boolean;
}

/** Names of output heads: "all-linear" leaves them out, as PEFT does. */
const OUTPUT_HEADS: ReadonlySet<string> = new Set(['lm_head', 'embed_out', 'score']);

/**
 * Paths of the layers to adapt, in the model's order, by PEFT's rules: excludeModules and
 * modulesToSave first; a list matches a whole path or a dotted suffix; a string is a regular
 * expression over the whole path, or "all-linear". layersToTransform narrows a list (an entry that is
 * a whole path is taken as it is).
 *
 * @param modelType for messages
 * @param kind what may be adapted; "all-linear" is linear layers all the same
 * @throws PEFT_NO_TARGET when nothing matches; PEFT_TARGET_NOT_LINEAR; PEFT_BAD_REGEX
 */
export function matchTargets(
  candidates: readonly Candidate[],
  targetModules: string | readonly string[],
  config: CommonConfig,
  modelType: string,
  kind: Targets = 'linear',
): string[] {
  const { excludeModules, modulesToSave } = config;
  const excluded = excludeModules === null ? () => false : matcher(excludeModules);
  const saved = (path: string) =>
    (modulesToSave ?? []).some((name) => `.${path}.`.includes(`.${name}.`));
  const wanted = isAllLinear(targetModules)
    ? ({ path, isLinear }: Candidate) => isLinear && !OUTPUT_HEADS.has(path)
    : pathTest(targetModules, config);
  const hits = candidates.filter(wanted);
  const matched = hits.filter(({ path }) => !excluded(path) && !saved(path));
  if (matched.length === 0)
    throw noTarget(candidates, targetModules, config, hits.length, modelType, kind);
  const wrong = kind === 'module' ? undefined : matched.find((m) => !canAdapt(m, kind));
  if (wrong)
    throw new AttuneError(
      'PEFT_TARGET_NOT_LINEAR',
      `targetModules ${JSON.stringify(targetModules)} match "${wrong.path}", which is not a linear layer${kind === 'linear' ? '' : ' and not an embedding'}.`,
      { remedy: 'Name the linear layers in it, or use modulesToSave to train the module whole.' },
    );
  return matched.map(({ path }) => path);
}

const canAdapt = ({ isLinear, isEmbedding }: Candidate, kind: Targets): boolean =>
  isLinear || (kind === 'linearOrEmbedding' && isEmbedding === true);

/** Entries of a list that match no module: a typing mistake, or a list meant for several families. */
export function unmatchedEntries(
  candidates: readonly Candidate[],
  targetModules: string | readonly string[],
): string[] {
  if (typeof targetModules === 'string') return [];
  return targetModules.filter((name) => !candidates.some(({ path }) => endsWithName(path, name)));
}

export const isAllLinear = (targetModules: string | readonly string[]): boolean =>
  typeof targetModules === 'string' && targetModules.toLowerCase() === 'all-linear';

/** Whether `path` is `name` or ends with it at a dot. */
export const endsWithName = (path: string, name: string): boolean =>
  path === name || path.endsWith(`.${name}`);

/**
 * The value for a layer in a table such as LoRA's rankPattern: a key is a regular expression for the
 * end of the path, whole parts of it; the first that fits wins.
 *
 * @throws PEFT_BAD_REGEX
 */
export function patternValue<T>(table: Readonly<Record<string, T>>, path: string): T | undefined {
  const key = Object.keys(table).find((k) => regex(`(.*\\.)?(${k})`, k).test(path));
  return key === undefined ? undefined : table[key];
}

/** Whether a regular expression matches a path from its first letter to its last. @throws PEFT_BAD_REGEX */
export const fullMatch = (pattern: string, path: string): boolean => regex(pattern).test(path);

/** The whole string must match, as Python's re.fullmatch; Python's named groups are understood. */
function regex(source: string, asWritten = source): RegExp {
  const named = source.replaceAll('(?P<', '(?<').replace(/\(\?P=(\w+)\)/g, '\\k<$1>');
  try {
    return new RegExp(`^(?:${named})$`);
  } catch (cause) {
    throw new AttuneError(
      'PEFT_BAD_REGEX',
      `"${asWritten}" is not a regular expression: ${(cause as Error).message}.`,
      { remedy: 'Give a list of module names, or mend the expression.', cause },
    );
  }
}

function matcher(names: string | readonly string[]): (path: string) => boolean {
  if (typeof names === 'string') {
    const pattern = regex(names);
    return (path) => pattern.test(path);
  }
  return (path) => names.some((name) => endsWithName(path, name));
}

function pathTest(
  targetModules: string | readonly string[],
  config: CommonConfig,
): (candidate: Candidate) => boolean {
  const fits = matcher(targetModules);
  if (typeof targetModules === 'string') return ({ path }) => fits(path);
  const layers = config.layersToTransform;
  const indices = layers === null ? [] : typeof layers === 'number' ? [layers] : layers;
  if (indices.length === 0) return ({ path }) => fits(path);
  const layerOf = layerNumber(config.layersPattern);
  return ({ path }) =>
    targetModules.includes(path) || (fits(path) && indices.includes(layerOf(path)));
}

/** The number of the layer that a path lies in; NaN outside of layers. Greedy: the last number that fits. */
function layerNumber(layersPattern: string | readonly string[] | null): (path: string) => number {
  const names = typeof layersPattern === 'string' ? [layersPattern] : (layersPattern ?? []);
  const patterns = names
    .filter((name) => name !== '')
    .map((name) => regex(`(?:.*\\.)?${name}\\.(\\d+)\\..*`, name));
  if (patterns.length === 0) patterns.push(/^.*\.[^.]*\.(\d+)\..*$/);
  return (path) => {
    for (const pattern of patterns) {
      const number = pattern.exec(path)?.[1];
      if (number !== undefined) return Number(number);
    }
    return Number.NaN;
  };
}

function noTarget(
  candidates: readonly Candidate[],
  targetModules: string | readonly string[],
  config: CommonConfig,
  hits: number,
  modelType: string,
  kind: Targets,
): AttuneError {
  const linear = candidates.filter((c) => c.isLinear);
  const able = candidates.filter((c) => canAdapt(c, kind));
  const names = [...new Set(able.map(({ path }) => path.slice(path.lastIndexOf('.') + 1)))];
  const { layersToTransform } = config;
  const found = `targetModules ${JSON.stringify(targetModules)}`;
  if (hits > 0)
    return new AttuneError(
      'PEFT_NO_TARGET',
      `${found} match ${hits} modules of ${modelType}, and excludeModules ${JSON.stringify(config.excludeModules)} or modulesToSave ${JSON.stringify(config.modulesToSave)} leave out all of them.`,
      { remedy: 'Exclude less, or target more.' },
    );
  const wanted = typeof targetModules === 'string' ? [targetModules] : targetModules;
  const near = wanted.map((name) => nearest(name, names)).find((name) => name !== undefined);
  const within =
    layersToTransform === null ? '' : ` in layers ${JSON.stringify(layersToTransform)}`;
  return new AttuneError(
    'PEFT_NO_TARGET',
    `${found} match none of the ${linear.length} linear layers of ${modelType}${within}.`,
    {
      remedy: `${near ? `Nearest: "${near}". ` : ''}Names: ${names.join(', ')}. Or pass "all-linear".`,
      details: { names },
    },
  );
}
