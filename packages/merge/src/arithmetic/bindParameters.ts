import { AttuneError } from '@attune/core';
import { briefly, explainUnknown } from '@attune/core/util';
import type { MergeMethod, MergeParameter } from '../contract/mergeMethod.js';

/** How many inputs there are, and which is the base. */
export interface InputCounts {
  readonly numInputs: number;
  readonly baseIndex: number | null;
}

/** How many values a parameter has: null, one that is shared. */
export const valueCount = (
  { scope }: MergeParameter,
  { numInputs, baseIndex }: InputCounts,
): number | null =>
  scope === 'shared'
    ? null
    : scope === 'perInput'
      ? numInputs
      : numInputs - (baseIndex === null ? 0 : 1);

/**
 * Values of a call, checked and completed: a number for a parameter with one value for each input
 * stands for all of them.
 *
 * @throws MERGE_PARAMETER
 */
export function bindParameters(
  method: MergeMethod,
  given: Readonly<Record<string, unknown>>,
  counts: InputCounts,
): Readonly<Record<string, unknown>> {
  const names = Object.keys(method.parameters);
  const bad = (message: string, remedy: string) =>
    new AttuneError('MERGE_PARAMETER', `${method.name}: ${message}`, { remedy });
  const unknown = Object.keys(given).find((name) => !names.includes(name));
  if (unknown !== undefined)
    throw bad(
      explainUnknown(unknown, { known: names, synonyms: {} }),
      `It has: ${names.join(', ') || 'none'}.`,
    );
  const bound: Record<string, unknown> = {};
  for (const [name, parameter] of Object.entries(method.parameters)) {
    const count = valueCount(parameter, counts);
    const value = given[name];
    if (count === null) bound[name] = parse(value, name);
    else {
      const list = Array.isArray(value) ? value : new Array<unknown>(count).fill(value);
      if (list.length !== count)
        throw bad(
          `${name} has ${list.length} values, expected ${count}.`,
          `Give one for each ${parameter.scope === 'perModel' && counts.baseIndex !== null ? 'input but the base' : 'input'}.`,
        );
      bound[name] = list.map((entry, i) => parse(entry, `${name}[${i}]`));
    }
    function parse(value: unknown, label: string): unknown {
      const { success, data, error } = parameter.schema.safeParse(value);
      if (success) return data;
      const found = value === undefined ? 'not given' : briefly(value);
      throw bad(`${label} is ${found}: ${error.issues[0]!.message}.`, `Give another ${name}.`);
    }
  }
  const wrong = method.check?.(bound);
  if (wrong) throw bad(`${wrong}.`, 'Give other values.');
  return bound;
}
