import { camelToSnake, isPlainObject } from '@attune/core/util';
import { stringify } from 'yaml';
import type { MergeConfigInput } from './mergeConfigInput.js';

/** Writes a config that is given in code as the YAML that mergekit reads. */
export const toYaml = (config: MergeConfigInput): string =>
  stringify(inSnakeCase(config, []), {
    version: '1.1',
    lineWidth: 0,
    aliasDuplicateObjects: false,
  });

/** Names of tokens and modules are no options. */
const NAMES: ReadonlySet<string> = new Set(['tokens', 'modules']);

function inSnakeCase(value: unknown, path: readonly string[]): unknown {
  if (Array.isArray(value)) return value.map((item) => inSnakeCase(item, path));
  if (!isPlainObject(value)) return value;
  const isNames = NAMES.has(path.at(-1) ?? '');
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, item]) => item !== undefined)
      .map(([key, item]) => {
        const name = isNames ? key : camelToSnake(key);
        return [name, inSnakeCase(item, isNames ? [] : [...path, name])];
      }),
  );
}
