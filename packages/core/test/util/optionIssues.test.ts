import { parseOptions } from '@attune/core/util';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';

const schema = z.strictObject({
  near: z
    .union([
      z.boolean(),
      z.strictObject({
        threshold: z.number().max(1).default(0.8).meta({ aka: 'jaccard' }),
        shingle: z.strictObject({ size: z.int().default(5) }).prefault({}),
      }),
    ])
    .default(false),
  sources: z.array(z.strictObject({ name: z.string(), ratio: z.number().optional() })).default([]),
  either: z
    .union([z.strictObject({ a: z.number() }), z.strictObject({ b: z.number() })])
    .optional(),
});

const messageOf = (options: object) => {
  try {
    parseOptions(schema, options, { where: 'f' });
  } catch (error) {
    return (error as Error).message;
  }
  return null;
};

describe('what is wrong within an option', () => {
  test.each([
    [
      { near: { treshold: 0.3 } },
      'UNKNOWN_OPTION: f: there is no option "near.treshold". Did you mean "threshold"?\n' +
        '  Fix: Options of near: threshold, shingle.',
    ],
    [{ near: { jaccard: 0.3 } }, '"near.jaccard". Did you mean "threshold"?'],
    [
      { near: { shingle: { sizes: 3 } } },
      '"near.shingle.sizes". Did you mean "size"?\n  Fix: Options of near.shingle: size.',
    ],
    [{ near: { threshold: 3 } }, 'INVALID_OPTION: f: near.threshold is 3'],
    [
      { sources: [{ name: 'a' }, { name: 'b', ration: 1 }] },
      '"sources.1.ration". Did you mean "ratio"?',
    ],
    [
      { near: 0.8 },
      'INVALID_OPTION: f: near is 0.8; expected true or false, or an object.\n' +
        '  Fix: Pass true or false, or an object, or leave near out.',
    ],
  ])('%j', (options, message) => {
    expect(messageOf(options)).toContain(message);
  });

  test('where several kinds of options may stand, none is guessed', () => {
    expect(messageOf({ either: { c: 1 } })).toMatch(/^INVALID_OPTION: f: either is \{"c":1\}/);
  });

  test('an error names its options as data', () => {
    try {
      parseOptions(schema, { near: { x: 1 }, y: 2 }, { where: 'f' });
      expect.unreachable();
    } catch (error) {
      expect(error).toMatchObject({
        code: 'UNKNOWN_OPTION',
        details: { options: expect.arrayContaining(['near.x', 'y']) },
      });
    }
  });
});
