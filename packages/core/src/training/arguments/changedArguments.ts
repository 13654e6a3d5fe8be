import type { z } from 'zod';
import { keysToCamel } from '../../util/json.js';
import { sameValue } from '../../util/sameValue.js';

type Named = Readonly<Record<string, unknown>>;

/**
 * Names of the arguments that the user wrote and that are not what the trainer would have taken
 * anyway: what makes this run different from others.
 *
 * @param written as the user wrote them, in either spelling
 * @param parsed what became of them
 * @param schema of the trainer's arguments
 * @param defaults what the trainer has instead of the schema's defaults
 */
export function changedArguments(
  written: Named,
  parsed: object,
  schema: z.ZodObject,
  defaults: Named,
): string[] {
  const isDefault = (name: string) => {
    // Each by itself: a schema may ask for others that have no default.
    const own = schema.shape[name]!.safeParse(defaults[name]) as z.ZodSafeParseResult<unknown>;
    return own.success && sameValue(own.data, (parsed as Named)[name]);
  };
  return Object.entries(keysToCamel(written))
    .filter(([name, value]) => value !== undefined && name in schema.shape && !isDefault(name))
    .map(([name]) => name);
}
