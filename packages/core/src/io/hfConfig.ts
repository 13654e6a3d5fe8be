import type { z } from 'zod';
import { join, lstat } from '#platform';
import { briefly } from '../util/briefly.js';
import { AttuneError } from '../util/errors.js';
import { type FormatJsonOptions, formatJson } from '../util/formatJson.js';
import { isPlainObject } from '../util/json.js';
import { type JsonValue, plainJson } from '../util/losslessJson.js';
import { writeFileAtomic } from './atomic.js';
import { readJsonMap } from './jsonMap.js';
import { finishSave } from './saveWhole.js';

/** A JSON object as it stands in a file, snake_case. */
export type RawConfig = Readonly<Record<string, unknown>>;

/** A JSON object of a file, and how it is spelt there. */
export interface JsonFile {
  readonly value: Record<string, unknown>;
  readonly source: JsonValue;
}

/**
 * Reads a JSON object from a file that is to be written back: nothing of it is lost. NaN and
 * Infinity, which Python writes, are numbers.
 *
 * @returns null when the file is missing and `optional`
 * @throws CONFIG_MISSING, CONFIG_INVALID
 */
export async function readJsonFile(
  path: string,
  options: { readonly optional: true },
): Promise<JsonFile | null>;
export async function readJsonFile(path: string): Promise<JsonFile>;
export async function readJsonFile(
  path: string,
  options: { readonly optional?: boolean } = {},
): Promise<JsonFile | null> {
  // A link without its target is no missing file: a cache that lost one.
  if (options.optional && !(await lstat(path).catch(() => null))) return null;
  const source = await readJsonMap(path, {
    code: 'CONFIG_MISSING',
    invalidCode: 'CONFIG_INVALID',
    remedy: 'Give the folder of a Hugging Face model, with all its files as they were published.',
    nonFinite: true,
  });
  return { value: plainJson(source) as Record<string, unknown>, source };
}

/** As readJsonFile, of a file that is only read. */
export async function readJsonObject(
  path: string,
  options: { readonly optional: true },
): Promise<Record<string, unknown> | null>;
export async function readJsonObject(path: string): Promise<Record<string, unknown>>;
export async function readJsonObject(
  path: string,
  { optional = false }: { readonly optional?: boolean } = {},
): Promise<Record<string, unknown> | null> {
  const file = optional ? await readJsonFile(path, { optional }) : await readJsonFile(path);
  return file?.value ?? null;
}

/** config.json of a model folder and, where there is one, generation_config.json. */
export interface HfConfig {
  readonly config: RawConfig;
  readonly generationConfig: RawConfig | null;
  /** How the two are spelt, for when they are written back. */
  readonly sources: ConfigSources;
}

/** The files as they were read, number for number. */
export interface ConfigSources {
  readonly config: JsonValue;
  readonly generation: JsonValue | null;
}

/**
 * The config.json and generation_config.json of a model folder.
 *
 * @throws CONFIG_MISSING, CONFIG_INVALID
 */
export async function readHfConfig(folder: string): Promise<HfConfig> {
  await finishSave(folder);
  const config = await readJsonFile(join(folder, 'config.json'));
  const generation = await readJsonFile(join(folder, 'generation_config.json'), { optional: true });
  return {
    config: config.value,
    generationConfig: generation?.value ?? null,
    sources: { config: config.source, generation: generation?.source ?? null },
  };
}

/** Writes JSON as Hugging Face's files are written: two spaces, a newline at the end. Atomic. */
export async function writeJson(
  path: string,
  value: unknown,
  options: Omit<FormatJsonOptions, 'indent'> = {},
): Promise<void> {
  await writeFileAtomic(path, `${formatJson(value, options)}\n`);
}

/**
 * Checks a config.json against a schema.
 *
 * @param where the file, for messages
 * @throws CONFIG_INVALID naming each key, what was found and what is allowed
 */
export function parseConfig<S extends z.ZodType>(
  schema: S,
  raw: RawConfig,
  where: string,
): z.output<S> {
  const result = schema.safeParse(raw);
  if (result.success) return result.data;
  const { issues } = result.error;
  const problems = issues.slice(0, 10).map((issue) => {
    const found = issue.path.reduce<unknown>(
      (value, key) =>
        isPlainObject(value) && Object.hasOwn(value, key) ? value[String(key)] : undefined,
      raw,
    );
    return `${issue.path.join('.') || '(root)'} is ${shown(found)}: ${issue.message}`;
  });
  throw new AttuneError(
    'CONFIG_INVALID',
    `${where}: ${problems.join('; ')}${issues.length > 10 ? ` and ${issues.length - 10} more` : ''}.`,
    {
      remedy: 'Use the config.json that came with the checkpoint.',
      cause: result.error,
    },
  );
}

/** NaN and infinities by their names: JSON has none. */
const shown = (found: unknown): string =>
  typeof found === 'number' ? String(found) : found === undefined ? 'missing' : briefly(found);
