import { isPlainObject } from '../util/json.js';
import type { RowRules } from './rowRules.js';

/**
 * Tokens of an example: what its rules say, else its `inputIds`, of an example with several texts
 * (a preference pair) those of the longest. undefined where nothing tells.
 */
export function exampleLength<Example>(
  example: Example,
  rules: RowRules<Example> = {},
): number | undefined {
  return rules.lengthOf?.(example) ?? longestText(example);
}

function longestText(value: unknown): number | undefined {
  if (!isPlainObject(value)) return undefined;
  const { inputIds } = value as { readonly inputIds?: ArrayLike<number> };
  if (inputIds !== undefined) return inputIds.length;
  const inside = Object.values(value).flatMap((part) => longestText(part) ?? []);
  return inside.length > 0 ? Math.max(...inside) : undefined;
}
