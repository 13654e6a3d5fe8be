import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { z } from 'zod';
import { AttuneError } from '../util/errors.js';
import { isPlainObject } from '../util/json.js';
import { writeFileAtomic } from './atomic.js';

/** A JSON object as it stands in a file, snake_case. */
export type RawConfig = Readonly<Record<string, unknown>>;

/**
 * Reads a JSON object from a file.
 *
 * @returns null when the file is missing and `optional`
 * @throws CONFIG_MISSING, CONFIG_INVALID
 */
export async function readJsonObject(
  path: string,
  options: { readonly optional: true },
): Promise<Record<string, unknown> | null>;
export async function readJsonObject(path: string): Promise<Record<string, unknown>>;
export async function readJsonObject(
  path: string,
  options: { readonly optional?: boolean } = {},
): Promise<Record<string, unknown> | null> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT' && options.optional) return null;
    throw new AttuneError('CONFIG_MISSING', `${path} cannot be read (${String(cause)}).`, {
      remedy: 'Give the folder of a Hugging Face model, with all its files.',
      cause,
    });
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new AttuneError('CONFIG_INVALID', `${path} is not JSON: ${(cause as Error).message}.`, {
      remedy: 'Mend the file, or fetch it again.',
      cause,
    });
  }
  if (isPlainObject(json)) return json;
  throw new AttuneError('CONFIG_INVALID', `${path} holds ${JSON.stringify(json).slice(0, 60)}.`, {
    remedy: 'Expected a JSON object, { ... }.',
  });
}

/** config.json of a model folder and, where there is one, generation_config.json. */
export interface HfConfig {
  readonly config: RawConfig;
  readonly generationConfig: RawConfig | null;
}

/** @throws CONFIG_MISSING, CONFIG_INVALID */
export async function readHfConfig(folder: string): Promise<HfConfig> {
  return {
    config: await readJsonObject(join(folder, 'config.json')),
    generationConfig: await readJsonObject(join(folder, 'generation_config.json'), {
      optional: true,
    }),
  };
}

/** Writes JSON as Hugging Face's files are written: two spaces, a newline at the end. Atomic. */
export async function writeJson(path: string, value: unknown): Promise<void> {
  await writeFileAtomic(path, `${JSON.stringify(value, null, 2)}\n`);
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
    return `${issue.path.join('.') || '(root)'} is ${JSON.stringify(found) ?? 'missing'}: ${issue.message}`;
  });
  throw new AttuneError('CONFIG_INVALID', `${where}: ${problems.join('; ')}.`, {
    remedy: 'Use the config.json that came with the checkpoint.',
    cause: result.error,
  });
}
