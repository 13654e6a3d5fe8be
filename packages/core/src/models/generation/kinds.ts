import { z } from 'zod';

/** What an option of generation must be: a test, and what was expected in words. */
const kind = <T>(expected: string, is: (value: unknown) => boolean) =>
  z.custom<T>(is, { error: `expected ${expected}` });

const isNumber = (value: unknown): value is number =>
  typeof value === 'number' && !Number.isNaN(value);
const isId = (value: unknown): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 0;
const isList = (value: unknown, of: (item: unknown) => boolean) =>
  Array.isArray(value) && value.every(of);
const number = (expected: string, isRight: (value: number) => boolean) =>
  kind<number>(expected, (value) => isNumber(value) && isRight(value));

export const kinds = {
  number: number('a number', () => true),
  count: kind<number>('a whole number >= 0', isId),
  seed: kind<number>('an integer >= 0', isId),
  streams: kind<readonly number[]>('a list of integers from 0 to 2^30', (v) =>
    isList(v, (item) => isId(item) && (item as number) <= 2 ** 30),
  ),
  topK: kind<number>('an integer >= 0 (0: all tokens)', isId),
  batchSize: number('an integer >= 1', (n) => Number.isInteger(n) && n >= 1),
  beams: number('an integer >= 1 (1: no beam search)', (n) => Number.isInteger(n) && n >= 1),
  share: number('a number in 0..1', (n) => n >= 0 && n <= 1),
  entropyShare: number('a number above 0, up to 1', (n) => n > 0 && n <= 1),
  cutoff: number('a number from 0 to below 1', (n) => n >= 0 && n < 1),
  penalty: number('a number above 0 (1: none)', (n) => n > 0),
  typical: number('a number above 0 (1: all)', (n) => n > 0),
  seconds: number('seconds above 0', (n) => n > 0),
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
