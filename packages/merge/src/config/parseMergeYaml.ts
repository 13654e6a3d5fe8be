import { AttuneError, briefly, camelToSnake, isPlainObject } from '@attune/core/util';
import type { MergeMethod } from '../contract/mergeMethod.js';
import { builtinMethods } from '../methods/index.js';
import { ConfigParser } from './configParser.js';
import type { MergeConfig } from './mergeConfig.js';
import type { MergeConfigInput } from './mergeConfigInput.js';
import { toYaml } from './toYaml.js';
import { findPlace, plainValue, readYamlTree } from './yamlTree.js';

/** How a config is read. */
export interface ParseMergeOptions {
  /** The file for messages; null: none. Default null. */
  readonly file?: string | null;
  /** What `merge_method` may name. Default: the built-in methods. */
  readonly methods?: readonly MergeMethod[];
}

/**
 * Reads a config of mergekit, and checks all that can be checked without the models.
 *
 * @throws MERGE_YAML for what is no YAML, MERGE_INVALID with all that is wrong
 */
export function parseMergeYaml(
  text: string,
  { file = null, methods = builtinMethods }: ParseMergeOptions = {},
): MergeConfig {
  if (typeof text !== 'string')
    throw new AttuneError('MERGE_YAML', `The config is ${briefly(text)}, expected text.`, {
      remedy: 'Give the text of a YAML file, or the path of one to readMergeYaml.',
    });
  const tree = readYamlTree(text, file);
  const placeOf: MergeConfig['placeOf'] = (path) => findPlace(tree, path);
  const isHolder = (path: readonly (string | number)[]) =>
    path.length === 1 &&
    tree.kind === 'map' &&
    tree.entries.get(String(path[0]))?.isShared === true;
  const parser = new ConfigParser(methods, { spell: camelToSnake, isHolder, file, placeOf });
  return parser.parse(plainValue(tree), text);
}

/**
 * Reads a config that is given in code, with keys in camelCase or snake_case, and checks all that
 * can be checked without the models.
 *
 * @throws MERGE_INVALID with all that is wrong
 */
export function parseMergeConfig(
  input: MergeConfigInput,
  { methods = builtinMethods }: Omit<ParseMergeOptions, 'file'> = {},
): MergeConfig {
  if (!isPlainObject(input))
    throw new AttuneError('MERGE_INVALID', 'The config is no object.', {
      remedy: 'Give { mergeMethod, models, ... }, or a file to mergeFromYaml.',
    });
  const parser = new ConfigParser(methods, {
    spell: (name) => name,
    file: null,
    placeOf: () => null,
  });
  // What is wrong is said of the config, before it is written out.
  return { ...parser.parse(input, ''), yaml: toYaml(input) };
}
