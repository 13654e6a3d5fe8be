import { nearest } from '@attune/core/util';
import type { PeftConfig } from '../contract/config.js';
import {
  endMatcher,
  endsWithName,
  fullMatcher,
  isAllLinear,
  layerNumber,
} from '../contract/patterns.js';

interface Subject {
  /** What the config's names were matched to: paths of all modules of the model. */
  readonly modules: readonly string[];
  /** Paths of the layers that are adapted; null: the method chooses parameters, not layers. */
  readonly adapted: readonly string[] | null;
  readonly modelType: string;
}

/**
 * What of a config matches nothing, a sentence for each option: most often a typing mistake, and
 * without a word the run would go on with something else than was asked for. PEFT warns of tables
 * and of `exclude_modules`.
 */
export function unmatchedOptions(config: PeftConfig, subject: Subject): string[] {
  const { modules, adapted, modelType } = subject;
  const inModel = { paths: modules, what: `module of ${modelType}` };
  const inAdapter = { paths: adapted ?? [], what: `adapted layer of ${modelType}` };
  const targets = isAllLinear(config.targetModules ?? []) ? null : config.targetModules;
  const sentences = [
    strayNames('targetModules', targets, inModel),
    strayNames('excludeModules', config.excludeModules, inModel),
    ...(adapted
      ? [
          strayKeys('rankPattern', config.rankPattern, inAdapter),
          strayKeys('alphaPattern', config.alphaPattern, inAdapter),
          strayNames('feedforwardModules', config.feedforwardModules, inAdapter, plainEnd),
          ...strayLayers(config, subject),
        ]
      : []),
  ];
  return sentences.filter((sentence) => sentence !== null);
}

interface Place {
  readonly paths: readonly string[];
  readonly what: string;
}

/** PEFT's rule for feedforwardModules. */
const plainEnd = (path: string, name: string): boolean => path.endsWith(name);

/** The entries of a list, or the whole of a regular expression, that match nothing. */
function strayNames(
  option: string,
  value: unknown,
  { paths, what }: Place,
  fits: (path: string, name: string) => boolean = endsWithName,
): string | null {
  if (typeof value === 'string')
    return paths.some(fullMatcher(value)) ? null : sentence(option, [value], { paths, what });
  const names = Array.isArray(value) ? (value as string[]) : [];
  const stray = names.filter((name) => !paths.some((path) => fits(path, name)));
  return stray.length === 0 ? null : sentence(option, stray, { paths, what });
}

function strayKeys(option: string, value: unknown, { paths, what }: Place): string | null {
  const keys = Object.keys((value as Record<string, unknown> | null | undefined) ?? {});
  const stray = keys.filter((key) => !paths.some(endMatcher(key)));
  return stray.length === 0 ? null : sentence(option, stray, { paths, what });
}

/** Numbers of layers that are not there, and names before numbers that are not. */
function strayLayers(config: PeftConfig, { modules, modelType }: Subject): (string | null)[] {
  const { layersToTransform, layersPattern, targetModules } = config;
  if (layersToTransform === null || !Array.isArray(targetModules)) return [];
  const wanted = [layersToTransform].flat();
  const names = [layersPattern ?? []].flat();
  const numberOf = layerNumber(names);
  const targets = modules.filter((path) => targetModules.some((name) => endsWithName(path, name)));
  const found = [...new Set(targets.map(numberOf))].filter((n) => !Number.isNaN(n));
  const stray = wanted.filter((number) => !found.includes(number));
  const around = (path: string) => /([^.]+)\.\d+\./.exec(path)?.[1];
  const known = [...new Set(targets.map(around))].filter((name) => name !== undefined);
  const strayPatterns = names.filter((name) => {
    const numbered = layerNumber([name]);
    return name !== '' && targets.every((path) => Number.isNaN(numbered(path)));
  });
  return [
    stray.length === 0
      ? null
      : `layersToTransform ${JSON.stringify(stray)} are no layers with such modules in ${modelType}; there are ${ranges(found)}.`,
    strayPatterns.length === 0
      ? null
      : `layersPattern ${JSON.stringify(strayPatterns)} stands before no number of a layer of ${modelType}; known: ${known.join(', ')}.`,
  ];
}

function sentence(option: string, stray: readonly string[], { paths, what }: Place): string {
  // Numbers of layers are no names.
  const names = [...new Set(paths.map((path) => path.slice(path.lastIndexOf('.') + 1)))].filter(
    (name) => /\D/.test(name),
  );
  const near = stray.map((name) => nearest(lastWord(name), names)).find((n) => n !== undefined);
  const shown = names.length > 20 ? [...names.slice(0, 20), '...'] : names;
  return `${option} ${JSON.stringify(stray)} ${stray.length === 1 ? 'matches' : 'match'} no ${what}. ${near ? `Nearest: "${near}". ` : ''}Names: ${shown.join(', ')}.`;
}

/** What an expression or a path seems to end with. */
const lastWord = (name: string): string =>
  name
    .split(/[.\\]+/)
    .at(-1)
    ?.replace(/\W/g, '') || name;

/** [0, 1, 2, 5] -> "0 to 2, 5" */
function ranges(numbers: readonly number[]): string {
  const sorted = [...numbers].sort((a, b) => a - b);
  const parts: [number, number][] = [];
  for (const n of sorted) {
    const last = parts.at(-1);
    if (last && n === last[1] + 1) last[1] = n;
    else parts.push([n, n]);
  }
  return parts.map(([from, to]) => (from === to ? `${from}` : `${from} to ${to}`)).join(', ');
}
