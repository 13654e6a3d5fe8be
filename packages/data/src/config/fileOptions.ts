import type { Attune } from '@attune/core';
import { innerSchema, isPlainObject, snakeToCamel } from '@attune/core/util';
import { z } from 'zod';
import { inFilesOf } from '../contract/inFiles.js';

type Path = readonly PropertyKey[];

/**
 * Reads the options of a stage as a file has them: snake_case becomes camelCase where the schema
 * names keys (keys of records are data, and stay), and what has a form of its own in files, such as
 * a provider, is made of it.
 */
export class FileOptions {
  /** Whether something that was read computes on a device. */
  needsDevice = false;

  /** @param at runs with the place of an option, so that its errors have it */
  constructor(
    private readonly attune: Attune | null,
    private readonly at: <T>(path: Path, run: () => T) => T,
  ) {}

  read(value: unknown, schema: unknown, path: Path = []): unknown {
    if (!(schema instanceof z.ZodType) || value === null) return value;
    const { read, needsDevice } = inFilesOf(schema);
    if (needsDevice?.(value)) this.needsDevice = true;
    if (read) return this.at(path, () => read(value, this.attune));
    const inner = innerSchema(schema);
    if (inner !== null) return this.read(value, inner, path);
    if (schema instanceof z.ZodUnion) return this.#union(value, schema, path);
    if (Array.isArray(value) && schema instanceof z.ZodArray)
      return value.map((item, i) => this.read(item, schema.element, [...path, i]));
    if (!isPlainObject(value)) return value;
    if (schema instanceof z.ZodRecord)
      return Object.fromEntries(
        Object.entries(value).map(([key, item]) => [
          key,
          this.read(item, schema.valueType, [...path, key]),
        ]),
      );
    return schema instanceof z.ZodObject ? this.#object(value, schema, path) : value;
  }

  #union(value: unknown, schema: z.ZodUnion, path: Path): unknown {
    const isWord = schema.options.some(
      (option) => option instanceof z.ZodLiteral && option.safeParse(value).success,
    );
    if (isWord) return value;
    return schema.options.reduce<unknown>(
      (changed, option) => this.read(changed, option, path),
      value,
    );
  }

  #object(value: object, schema: z.ZodObject, path: Path): unknown {
    const shape = schema.shape as Readonly<Record<string, unknown>>;
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => {
        const name = Object.hasOwn(shape, key) ? key : snakeToCamel(key);
        const option = Object.hasOwn(shape, name) ? shape[name] : null;
        return [name, this.read(item, option, [...path, key])];
      }),
    );
  }
}
