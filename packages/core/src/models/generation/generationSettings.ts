import { z } from 'zod';
import { briefly } from '../../util/briefly.js';
import { AttuneError } from '../../util/errors.js';
import { camelToSnake, snakeToCamel } from '../../util/json.js';
import type { Logger } from '../../util/logger.js';
import { problemError, problemsOf } from '../../util/options.js';
import { callOptions, type GenerateOptions, settingOptions } from './generateOptions.js';

/** What `generate` was told: defaults filled in, but for what depends on the model. */
export interface Settings {
  readonly values: z.output<typeof checked>;
  /** Where the value of an option came from, and how it is spelt there. */
  origin(name: string): string;
}

/** All but prompts and things of the call, which have messages of their own. */
const { seed, streams, batchSize, returnLogProbs } = callOptions;
const checked = z.strictObject({ ...settingOptions, seed, streams, batchSize, returnLogProbs });

type Named = Readonly<Record<string, unknown>>;

const isGiven = (value: unknown): boolean => value !== undefined && value !== null;

/**
 * Options of a call over those of generation_config.json; null and undefined say nothing.
 *
 * @throws GENERATE_OPTION, with where each wrong value came from
 */
export function readSettings(options: GenerateOptions, saved: Named): Settings {
  const given: Named = { ...options };
  const isSaved = (name: string) =>
    name in settingOptions && !isGiven(given[name]) && isGiven(saved[camelToSnake(name)]);
  const origin = (name: string) =>
    isSaved(name) ? `generation_config.json: ${camelToSnake(name)}` : `generate: ${name}`;
  const values: Record<string, unknown> = {};
  for (const name of Object.keys(checked.shape)) {
    const value = isSaved(name) ? saved[camelToSnake(name)] : given[name];
    if (isGiven(value)) values[name] = value;
  }
  const parsed = checked.safeParse(values);
  if (parsed.success) return { values: parsed.data, origin };
  throw problemError(
    'GENERATE_OPTION',
    problemsOf(parsed.error, values, checked, {
      label: ([name]) => origin(String(name)),
      explain: String,
      remedy: (where, expected) =>
        remedyOf(where, snakeToCamel(where.replace(/^[^:]*: /, '')), expected ?? 'another value'),
    }),
    parsed.error,
  );
}

const remedyOf = (where: string, name: string, expected: string): string =>
  where.startsWith('generate:')
    ? `Pass ${expected}, or leave ${name} out.`
    : `Mend the file, or pass ${name} to generate: it comes first.`;

export const badSetting = (
  where: string,
  name: string,
  value: unknown,
  expected: string,
  remedy?: string,
): AttuneError =>
  new AttuneError('GENERATE_OPTION', `${where} is ${briefly(value)}; expected ${expected}.`, {
    remedy: remedy ?? remedyOf(where, name, expected),
  });

/**
 * Keys that would change what is written and are not built, with the values that switch them off.
 */
const ABSENT: Readonly<Record<string, readonly unknown[]>> = {
  guidance_scale: [1],
  watermarking_config: [],
  token_healing: [false],
  num_beam_groups: [0, 1],
  diversity_penalty: [0],
  penalty_alpha: [0],
  dola_layers: [],
  constraints: [],
  force_words_ids: [],
};

/**
 * Says which keys of a generation_config.json change answers in transformers and do nothing here.
 */
export function warnOfAbsentSettings(
  saved: Readonly<Record<string, unknown>> | null,
  logger: Logger,
): void {
  const found = Object.entries(ABSENT).flatMap(([key, off]) => {
    const value = saved?.[key] ?? null;
    return value === null || off.includes(value) ? [] : [`${key} = ${briefly(value)}`];
  });
  if (found.length > 0)
    logger.warn(
      `generation_config.json: ${found.join(', ')} ${found.length === 1 ? 'is' : 'are'} not built; generate goes on without.`,
    );
}
