import { z } from 'zod';
import { isPlainObject, keysToCamel } from '../../util/json.js';

/** A whole number from 1. */
export const count = z.int().min(1);

/** When something happens in a run: never, every so many updates, or at the end of each epoch. */
export type IntervalStrategy = 'no' | 'steps' | 'epoch';

/** When something happens. */
export const strategy = z.enum(['no', 'steps', 'epoch']);

/** An object of options, its keys in camelCase or snake_case. */
export const inEitherSpelling = <T>(schema: z.ZodType<T>): z.ZodType<T, T> =>
  z.preprocess(
    (given) => (isPlainObject(given) ? keysToCamel(given) : given),
    schema,
  ) as z.ZodType as z.ZodType<T, T>;
