import { briefly } from '../../util/briefly.js';
import { AttuneError } from '../../util/errors.js';
import { camelToSnake } from '../../util/json.js';
import type { Logger } from '../../util/logger.js';

/** What a value must be, in words and as a test. */
export interface Kind<T> {
  readonly expected: string;
  is(value: unknown): value is T;
}

const kind = <T>(expected: string, is: (value: unknown) => boolean): Kind<T> => ({
  expected,
  is: is as (value: unknown) => value is T,
});

const isId = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0;
const isList = (value: unknown, of: (item: unknown) => boolean) =>
  Array.isArray(value) && value.every(of);

export const kinds = {
  number: kind<number>('a number', (v) => typeof v === 'number' && !Number.isNaN(v)),
  count: kind<number>('a whole number >= 0', isId),
  flag: kind<boolean>('true or false', (v) => typeof v === 'boolean'),
  early: kind<boolean | 'never'>(
    "true, false or 'never'",
    (v) => typeof v === 'boolean' || v === 'never',
  ),
  id: kind<number>('a token id', isId),
  /** -1 stands for "none" in some files. */
  ids: kind<number | readonly number[]>(
    'a token id, or a list of them',
    (v) => Number.isSafeInteger(v) || isList(v, Number.isSafeInteger),
  ),
  idList: kind<readonly number[]>('a list of token ids', (v) => isList(v, isId)),
  idLists: kind<readonly (readonly number[])[]>('a list of lists of token ids', (v) =>
    isList(v, (item) => isList(item, isId)),
  ),
  biases: kind<readonly (readonly [readonly number[], number])[]>(
    'a list of [token ids, number]',
    (v) =>
      isList(
        v,
        (item) =>
          Array.isArray(item) &&
          item.length === 2 &&
          isList(item[0], isId) &&
          item[0].length > 0 &&
          typeof item[1] === 'number',
      ),
  ),
  decay: kind<readonly [number, number]>(
    '[new tokens from which on, factor above 0]',
    (v) => Array.isArray(v) && v.length === 2 && isId(v[0]) && typeof v[1] === 'number' && v[1] > 0,
  ),
  texts: kind<string | readonly string[]>(
    'a text, or a list of texts',
    (v) => typeof v === 'string' || isList(v, (item) => typeof item === 'string'),
  ),
};

export interface Settings {
  /** The caller's value, else the file's, else the fallback; null and undefined say nothing. @throws GENERATE_OPTION */
  get<T, F>(name: string, of: Kind<T>, fallback: F): T | F;
  /** Where the value of an option came from, and how it is spelt there. */
  origin(name: string): string;
}

/** Options of a call over those of generation_config.json. */
export function settingsOf(
  options: Readonly<Record<string, unknown>>,
  saved: Readonly<Record<string, unknown>>,
): Settings {
  const isGiven = (name: string) => options[name] !== undefined && options[name] !== null;
  const origin = (name: string) =>
    isGiven(name) || (saved[camelToSnake(name)] ?? null) === null
      ? `generate: ${name}`
      : `generation_config.json: ${camelToSnake(name)}`;
  return {
    origin,
    get: (name, of, fallback) => {
      const value = isGiven(name) ? options[name] : saved[camelToSnake(name)];
      if (value === undefined || value === null) return fallback;
      if (of.is(value)) return value;
      throw badSetting(origin(name), name, value, of.expected);
    },
  };
}

export const badSetting = (
  where: string,
  name: string,
  value: unknown,
  expected: string,
  remedy?: string,
): AttuneError =>
  new AttuneError('GENERATE_OPTION', `${where} is ${briefly(value)}; expected ${expected}.`, {
    remedy:
      remedy ??
      (where.startsWith('generate:')
        ? `Pass ${expected}, or leave ${name} out.`
        : `Mend the file, or pass ${name} to generate: it comes first.`),
  });

/** Keys that would change what is written and are not built, with the values that switch them off. */
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

/** Says which keys of a generation_config.json change answers in transformers and do nothing here. */
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
