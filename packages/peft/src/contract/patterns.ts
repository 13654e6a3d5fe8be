import { AttuneError } from '@attune/core';
import { PythonPattern } from '@attune/core/util';

/** Whether a path fits. */
export type PathTest = (path: string) => boolean;

/**
 * A name without characters that mean something to `re`, but for the dot, which fits any character.
 */
const PLAIN = /^[\w.]+$/;

/**
 * An expression of Python's `re`, as PEFT has them in configs.
 *
 * @param asWritten what the user or the file has, where more is around it
 * @throws PEFT_BAD_REGEX where Python refuses it
 */
export function pattern(source: string, asWritten = source): PythonPattern {
  try {
    return new PythonPattern(source);
  } catch (cause) {
    if (!AttuneError.isInstance(cause)) throw cause;
    throw new AttuneError(
      'PEFT_BAD_REGEX',
      `"${asWritten}" is not a regular expression: ${cause.details.problem ?? cause.description}.`,
      {
        remedy: `Give a list of module names, or mend the expression. ${cause.remedy ?? ''}`.trim(),
        cause,
      },
    );
  }
}

/**
 * Whether a regular expression matches a path from its first letter to its last, as `re.fullmatch`.
 *
 * @throws PEFT_BAD_REGEX
 */
export function fullMatcher(source: string): PathTest {
  const found = pattern(source);
  return (path) => found.fullMatch(path) !== null;
}

/** Whether `path` is `name` or ends with it at a dot. */
export const endsWithName = (path: string, name: string): boolean =>
  path === name || path.endsWith(`.${name}`);

/** Names as a list, or a regular expression for the whole path. @throws PEFT_BAD_REGEX */
export function matcher(names: string | readonly string[]): PathTest {
  if (typeof names === 'string') return fullMatcher(names);
  return (path) => names.some((name) => endsWithName(path, name));
}

/** Whether targetModules is the word for every linear layer but the output head. */
export const isAllLinear = (targetModules: string | readonly string[]): boolean =>
  typeof targetModules === 'string' && targetModules.toLowerCase() === 'all-linear';

/** As `fullMatcher`, once. @throws PEFT_BAD_REGEX */
export const fullMatch = (source: string, path: string): boolean => fullMatcher(source)(path);

/**
 * Whether a key of a table such as LoRA's rankPattern fits a path: a regular expression for the end
 * of it, whole parts, as PEFT's `re.match` of `(.*\.)?(key)$`.
 *
 * @throws PEFT_BAD_REGEX
 */
export function endMatcher(key: string): PathTest {
  if (PLAIN.test(key)) return (path) => endsAs(path, key);
  const found = pattern(`(.*\\.)?(${key})$`, key);
  return (path) => found.match(path) !== null;
}

/**
 * Names are most of what tables hold, one for each layer at times: no expression is made of them.
 */
function endsAs(path: string, key: string): boolean {
  const start = path.length - key.length;
  if (start < 0 || (start > 0 && path[start - 1] !== '.')) return false;
  for (let i = 0; i < key.length; i++)
    if (key[i] !== '.' && key[i] !== path[start + i]) return false;
  return true;
}

/**
 * The value for a layer in such a table; the first key that fits wins.
 *
 * @throws PEFT_BAD_REGEX
 */
export function patternValue<T>(table: Readonly<Record<string, T>>, path: string): T | undefined {
  const key = Object.keys(table).find((k) => endMatcher(k)(path));
  return key === undefined ? undefined : table[key];
}

/**
 * Whether a path is a module of `modulesToSave` or lies in one: PEFT's `re.match` of
 * `(^|.*\.)name($|\..*)`.
 */
export function insideMatcher(name: string): PathTest {
  if (/^\w+$/.test(name)) return (path) => `.${path}.`.includes(`.${name}.`);
  const found = pattern(`(^|.*\\.)${name}($|\\..*)`, name);
  return (path) => found.match(path) !== null;
}

/**
 * The number of the layer that a path lies in; NaN outside of layers. The first number that fits,
 * as PEFT's: that of the layer, not of an expert in it.
 *
 * @param names expressions for what stands before the number; none: whatever does
 * @throws PEFT_BAD_REGEX
 */
export function layerNumber(names: readonly string[]): (path: string) => number {
  const given = names.filter((name) => name !== '');
  const patterns =
    given.length === 0
      ? [pattern('.*?\\.[^.]*\\.(?P<idx>\\d+)\\.')]
      : given.map((name) => pattern(`(?:^|.*?\\.)${name}\\.(?P<idx>\\d+)\\.`, name));
  return (path) => {
    for (const one of patterns) {
      const found = one.match(path);
      if (found) return Number(found.group('idx'));
    }
    return Number.NaN;
  };
}
