import { isPlainObject, snakeToCamel } from '@attune/core/util';
import { z } from 'zod';

/**
 * Options of a file with the names that a schema has: snake_case becomes camelCase where the schema
 * names keys; keys of records are data, and stay.
 */
export function camelOptions(value: unknown, schema: unknown): unknown {
  const inner = unwrapped(schema);
  if (inner instanceof z.ZodUnion)
    return inner.options.reduce<unknown>((changed, option) => camelOptions(changed, option), value);
  if (Array.isArray(value) && inner instanceof z.ZodArray)
    return value.map((item) => camelOptions(item, inner.element));
  if (!isPlainObject(value)) return value;
  if (inner instanceof z.ZodRecord)
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [key, camelOptions(item, inner.valueType)]),
    );
  if (!(inner instanceof z.ZodObject)) return value;
  const shape = inner.shape as Readonly<Record<string, unknown>>;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => {
      const name = Object.hasOwn(shape, key) ? key : snakeToCamel(key);
      return [name, Object.hasOwn(shape, name) ? camelOptions(item, shape[name]) : item];
    }),
  );
}

/** A schema without what is around it: defaults, "optional", transformations. */
function unwrapped(schema: unknown): unknown {
  for (let inner = schema; ; ) {
    if (
      inner instanceof z.ZodOptional ||
      inner instanceof z.ZodNullable ||
      inner instanceof z.ZodDefault ||
      inner instanceof z.ZodPrefault ||
      inner instanceof z.ZodReadonly ||
      inner instanceof z.ZodNonOptional
    )
      inner = inner.unwrap();
    else if (inner instanceof z.ZodPipe) inner = inner.in;
    else return inner;
  }
}
