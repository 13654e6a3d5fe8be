import { AttuneError, briefly, camelToSnake, isPlainObject } from '@attune/core/util';
import { stringify } from 'yaml';
import { type ConfigPath, formatPath } from '../problems.js';
import type { MergeConfigInput } from './mergeConfigInput.js';

/**
 * Writes a config that is given in code as the YAML that mergekit reads.
 *
 * @throws MERGE_INVALID for what YAML has no words for: functions, values that hold themselves
 */
export const toYaml = (config: MergeConfigInput): string =>
  stringify(inSnakeCase(config, []), {
    version: '1.1',
    lineWidth: 0,
    aliasDuplicateObjects: false,
  });

/** Keys below which names stand: those of tokens and modules are no options. */
const NAMES: ReadonlySet<unknown> = new Set(['tokens', 'modules']);
const MAX_DEPTH = 100;
const WITHOUT_WORDS: ReadonlySet<string> = new Set(['function', 'symbol', 'bigint']);

function inSnakeCase(value: unknown, path: ConfigPath): unknown {
  if (path.length > MAX_DEPTH) throw bad('holds itself, or is nested too deeply', path.slice(0, 3));
  if (Array.isArray(value)) return value.map((item, i) => inSnakeCase(item, [...path, i]));
  if (WITHOUT_WORDS.has(typeof value))
    throw bad(`is ${briefly(value)}, which YAML has no words for`, path);
  if (!isPlainObject(value)) return value;
  const isNames = NAMES.has(path.at(-1)) && !NAMES.has(path.at(-2));
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, item]) => item !== undefined)
      .map(([key, item]) => {
        const name = isNames ? key : camelToSnake(key);
        return [name, inSnakeCase(item, [...path, name])];
      }),
  );
}

const bad = (found: string, path: ConfigPath): AttuneError =>
  new AttuneError('MERGE_INVALID', `${formatPath(path) || 'the config'} ${found}.`, {
    remedy: 'Give text, numbers, booleans, lists and mappings.',
  });
