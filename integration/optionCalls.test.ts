import { AttuneError } from '@attune/core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { dataOptionCalls } from './dataOptionCalls.js';
import { makeThings, optionCalls, type Things } from './optionCalls.js';

// That the table has every call is held by optionTypes.test.ts, which asks the compiler.

let things: Things & AsyncDisposable;
beforeAll(async () => {
  things = await makeThings();
});
afterAll(() => things[Symbol.asyncDispose]());

async function refusal(call: () => unknown): Promise<AttuneError> {
  try {
    await call();
  } catch (error) {
    if (AttuneError.isInstance(error)) return error;
    throw error;
  }
  throw new Error('it was taken');
}

/** Its last two letters the other way round: "bufferSize" -> "bufferSiez". */
const misspelt = (option: string): string => option.replace(/(.)(.)$/, '$2$1');

const all = { ...optionCalls, ...dataOptionCalls };

describe.each(Object.entries(all))('%s', (_, { option, wrong, call }) => {
  test('refuses a misspelt option, with its name', async () => {
    const written = misspelt(option);
    const error = await refusal(() => call({ [written]: 1 } as never, things));
    expect(error.code).toBe('UNKNOWN_OPTION');
    expect(error.message).toContain(`"${written}"`);
    expect(error.message).toContain(option);
    expect(error.remedy).toContain(option);
  });

  if (wrong !== undefined)
    test('refuses a value that is none, with the option, the value and what to do', async () => {
      const error = await refusal(() => call({ [option]: wrong } as never, things));
      expect(error.code).not.toBe('UNKNOWN_OPTION');
      expect(error.message).toContain(option);
      const value = typeof wrong === 'object' ? Object.values(wrong as object)[0] : wrong;
      expect(error.message).toContain(String(value));
      expect(error.remedy).toBeTruthy();
    });
});
