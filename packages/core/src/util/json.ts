/**
 * camelCase in TypeScript, snake_case in files: the one place where names are mapped.
 *
 * `4bit` is a word of its own, as Hugging Face writes it: bnb_4bit_quant_type, load_in_4bit. A
 * leading underscore stays (`_name_or_path`), and a name that is already in the other spelling is
 * unchanged.
 */
export const snakeToCamel = (name: string): string =>
  name.replace(/(?<=[^_])_([a-zA-Z0-9])/g, (_, c: string) => c.toUpperCase());

/** `learningRate` -> `learning_rate`. */
export const camelToSnake = (name: string): string =>
  name
    .replace(/(?<=[^_\d])(\d+bit)/gi, '_$1')
    .replace(/(?<=[a-z0-9])([A-Z])/g, (_, c: string) => `_${c.toLowerCase()}`);

/** What a JSON file can hold: numbers are finite. */
export type PlainJson =
  | null
  | boolean
  | number
  | string
  | readonly PlainJson[]
  | { readonly [key: string]: PlainJson };

/** How far keys are respelled. */
export interface MapKeysOptions {
  /**
   * Also inside of nested objects and arrays. Default false: values are often data, not options.
   */
  readonly deep?: boolean;
  /**
   * Keys (in either spelling) whose values keep their keys even when deep: dictionaries by module
   * name.
   */
  readonly keep?: readonly string[];
}

type Json = Readonly<Record<string, unknown>>;

/** The same object with camelCase keys. */
export const keysToCamel = (value: Json, options: MapKeysOptions = {}): Record<string, unknown> =>
  mapKeys(value, snakeToCamel, options);

/** The same object with snake_case keys. */
export const keysToSnake = (value: Json, options: MapKeysOptions = {}): Record<string, unknown> =>
  mapKeys(value, camelToSnake, options);

function mapKeys(value: Json, rename: (key: string) => string, options: MapKeysOptions) {
  const kept = new Set((options.keep ?? []).map(snakeToCamel));
  const visit = (item: unknown): unknown => {
    if (Array.isArray(item)) return item.map(visit);
    return isPlainObject(item) ? mapKeys(item, rename, options) : item;
  };
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [
      rename(key),
      options.deep && !kept.has(snakeToCamel(key)) ? visit(item) : item,
    ]),
  );
}

/** A `{...}` of JSON: not null, not an array, not an instance of a class. */
export function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
