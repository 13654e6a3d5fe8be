import { z } from 'zod';

type Issue = z.core.$ZodIssue;

/** What a value may be, in words. */
const KINDS: Readonly<Record<string, string>> = {
  array: 'a list',
  boolean: 'true or false',
  int: 'a whole number',
  number: 'a number',
  object: 'an object',
  string: 'a text',
};

/**
 * Issues, with those of a union's member in the place of the union's own, which say nothing: of the
 * only member that is of the value's kind.
 */
export const plainIssues = (issues: readonly Issue[]): Issue[] =>
  issues.flatMap((issue) => {
    if (issue.code !== 'invalid_union') return [issue];
    const meant = issue.errors.filter((member) => !member.some(isOfOtherKind));
    if (meant.length !== 1) return [issue];
    return plainIssues(meant[0]!).map((inner) => ({
      ...inner,
      path: [...issue.path, ...inner.path],
    }));
  });

/** Whether the value itself is refused, and not something in it. */
const isOfOtherKind = ({ code, path }: Issue): boolean =>
  path.length === 0 && code !== 'unrecognized_keys';

/** "expected true or false, or an object"; null: members ask for more than a kind. */
export function expectedKinds(errors: readonly (readonly Issue[])[]): string | null {
  const kinds = errors.map(([first, ...more]) =>
    first?.code === 'invalid_type' && first.path.length === 0 && more.length === 0
      ? KINDS[first.expected]
      : undefined,
  );
  return kinds.includes(undefined) ? null : `expected ${kinds.join(', or ')}`;
}

/** The options that stand at a place within options; null: several kinds of them may. */
export function optionsAt(schema: unknown, path: readonly PropertyKey[]): z.ZodObject | null {
  const inner = unwrapped(schema);
  if (inner instanceof z.ZodUnion) {
    const found = inner.options.flatMap((option) => optionsAt(option, path) ?? []);
    return found.length === 1 ? found[0]! : null;
  }
  const [key, ...rest] = path;
  if (key === undefined) return inner instanceof z.ZodObject ? inner : null;
  if (inner instanceof z.ZodArray) return optionsAt(inner.element, rest);
  if (inner instanceof z.ZodRecord) return optionsAt(inner.valueType, rest);
  return inner instanceof z.ZodObject ? optionsAt(inner.shape[key as string], rest) : null;
}

/** What a schema is around: without a default, "optional", a transformation; null: it is bare. */
export function innerSchema(schema: unknown): unknown {
  if (
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodNullable ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault ||
    schema instanceof z.ZodReadonly ||
    schema instanceof z.ZodNonOptional
  )
    return schema.unwrap();
  return schema instanceof z.ZodPipe ? schema.in : null;
}

function unwrapped(schema: unknown): unknown {
  const inner = innerSchema(schema);
  return inner === null ? schema : unwrapped(inner);
}
