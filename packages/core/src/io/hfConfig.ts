import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { z } from 'zod';
import { AttuneError } from '../util/errors.js';
import { type FormatJsonOptions, formatJson } from '../util/formatJson.js';
import { isPlainObject } from '../util/json.js';
import { type JsonValue, parseJson, plainJson } from '../util/losslessJson.js';
import { writeFileAtomic } from './atomic.js';

/** A JSON object as it stands in a file, snake_case. */
export type RawConfig = Readonly<Record<string, unknown>>;

/** A JSON object of a file, and how it is spelt there. */
export interface JsonFile {
  readonly value: Record<string, unknown>;
  readonly source: JsonValue;
}

/**
 * Reads a JSON object from a file that is to be written back: nothing of it is lost. NaN and Infinity, which Python
 * writes, are numbers.
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
  const text = await readText(path, options.optional ?? false);
  if (text === null) return null;
  const source = parsed(path, () => parseJson(text, { nonFinite: true }));
  return { value: object(path, plainJson(source)), source };
}

/** As readJsonFile, of a file that is only read. */
export async function readJsonObject(
  path: string,
  options: { readonly optional: true },
): Promise<Record<string, unknown> | null>;
export async function readJsonObject(path: string): Promise<Record<string, unknown>>;
export async function readJsonObject(
  path: string,
  options: { readonly optional?: boolean } = {},
): Promise<Record<string, unknown> | null> {
  const text = await readText(path, options.optional ?? false);
  if (text === null) return null;
  return object(
    path,
    parsed(path, () => JSON.parse(text) as unknown),
  );
}

async function readText(path: string, optional: boolean): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT' && optional) return null;
    throw new AttuneError('CONFIG_MISSING', `${path} cannot be read (${String(cause)}).`, {
      remedy: 'Give the folder of a Hugging Face model, with all its files.',
      cause,
    });
  }
}

function parsed<T>(path: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    throw new AttuneError('CONFIG_INVALID', `${path} is not JSON: ${(cause as Error).message}.`, {
      remedy: 'Mend the file, or fetch it again.',
      cause,
    });
  }
}

function object(path: string, json: unknown): Record<string, unknown> {
  if (isPlainObject(json)) return json;
  throw new AttuneError('CONFIG_INVALID', `${path} holds ${JSON.stringify(json).slice(0, 60)}.`, {
    remedy: 'Expected a JSON object, { ... }.',
  });
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

/** @throws CONFIG_MISSING, CONFIG_INVALID */
export async function readHfConfig(folder: string): Promise<HfConfig> {
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
  const problems = result.error.issues.map((issue) => {
    const found = issue.path.reduce<unknown>(
      (value, key) => (isPlainObject(value) ? value[String(key)] : undefined),
      raw,
    );
    return `${issue.path.join('.') || '(root)'} is ${shown(found)}: ${issue.message}`;
  });
  throw new AttuneError('CONFIG_INVALID', `${where}: ${problems.join('; ')}.`, {
    remedy: 'Use the config.json that came with the checkpoint.',
    cause: result.error,
  });
}

/** NaN and infinities by their names: JSON has none. */
const shown = (found: unknown): string =>
  typeof found === 'number' ? String(found) : (JSON.stringify(found) ?? 'missing');
