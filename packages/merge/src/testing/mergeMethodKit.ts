import { isDeepStrictEqual } from 'node:util';
import { AttuneError } from '@attune/core';
import { type KitCheck, kitOf } from '@attune/core/testing';
import { type OptionsInput, parseOptions } from '@attune/core/util';
import { z } from 'zod';
import { bindParameters } from '../arithmetic/bindParameters.js';
import type { MergeMethod } from '../contract/mergeMethod.js';
import { countsOf, type KitRun, kitBase, runMethod, usedMemory, wave } from './kitRun.js';

const kitShape = {
  /** Values of parameters: one each, which holds for every input. Default none. */
  parameters: z.record(z.string(), z.unknown()).default({}),
  /** Whether it draws random numbers, so that another seed gives another result. Default false. */
  isRandom: z.boolean().default(false),
};

/** Options of {@link mergeMethodKit}. */
export type MergeMethodKitOptions = OptionsInput<typeof kitShape>;

const SHAPE = [7, 13];

/**
 * What every merge method must do, as checks for any test framework:
 *
 *     for (const { name, run } of mergeMethodKit(mine, { parameters: { t: 0.3 } })) test(name, run);
 *
 * It is pure, and leaves its inputs alone; it gives the same however tensors are cut; it writes
 * every element, of any shape; zero, equal and opposite inputs give finite numbers or an error that
 * says why; the base may stand anywhere; it takes as many inputs as it says; its parameters are
 * complete; the seed alone decides what is random.
 *
 * @throws UNKNOWN_OPTION, INVALID_OPTION
 */
export function mergeMethodKit(
  method: MergeMethod,
  options: MergeMethodKitOptions = {},
): KitCheck[] {
  const place = { where: 'mergeMethodKit' };
  const { parameters, isRandom } = parseOptions(z.strictObject(kitShape), options, place);
  const { check, fail } = kitOf(`merge method "${method.name}"`);
  const baseIndex = kitBase(method);
  const counts = countsOf(method, baseIndex);
  const usual = counts.includes(3) ? 3 : (counts.at(-1) ?? 0);
  const tensorsOf = (count: number, length = 91) =>
    Array.from({ length: count }, (_, k) => wave(length, k));
  const run = (changes: Partial<KitRun> = {}) =>
    runMethod(method, {
      tensors: tensorsOf(usual),
      shape: SHAPE,
      baseIndex,
      parameters,
      ...changes,
    });
  const merged = (changes?: Partial<KitRun>) => run(changes).merged;
  const same = (found: Float32Array, expected: Float32Array, what: string, remedy: string) => {
    const i = found.findIndex((value, j) => !Object.is(value, expected[j]));
    if (i >= 0) fail(`${what}: element ${i} is ${found[i]}, not ${expected[i]}`, remedy);
  };
  const finite = (values: Float32Array, what: string) => {
    const i = values.findIndex((value) => !Number.isFinite(value));
    if (i >= 0)
      fail(
        `${what}: element ${i} is ${values[i]}`,
        'Write every element of `out`, and mind divisions by a norm or a sum that is 0.',
      );
  };
  /** Runs; an error that says what is wrong with the inputs is as good as a result. */
  const finiteOrRefused = (changes: Partial<KitRun>, what: string) => {
    try {
      finite(merged(changes), what);
    } catch (error) {
      if (!AttuneError.isInstance(error) || error.code === 'KIT') throw error;
    }
  };

  return [
    check('its names can stand in a file', () => {
      if (!/^[a-z][a-z0-9_]*$/.test(method.name))
        fail('its name is no word in snake_case', 'Name it as `merge_method:` is to name it.');
      for (const name of Object.keys(method.parameters))
        if (!/^[a-z][A-Za-z0-9]*$/.test(name))
          fail(
            `parameter "${name}" is not camelCase`,
            'Files write it in snake_case by themselves.',
          );
    }),

    check('its parameters are complete, and say what they take', () => {
      const bound = bindParameters(method, parameters, { numInputs: usual, baseIndex });
      for (const [name, { schema }] of Object.entries(method.parameters)) {
        if (schema.safeParse({ 'no such': 'value' }).success)
          fail(`${name} takes anything`, 'Give it a schema: z.number(), z.boolean(), ...');
        const [first] = [bound[name]].flat();
        const again = schema.safeParse(first);
        if (first !== undefined && !(again.success && isDeepStrictEqual(again.data, first)))
          fail(
            `${name} does not take its own value ${JSON.stringify(first)}`,
            'A default must be a value that a config could give.',
          );
      }
    }),

    check('the same inputs give the same bits, and stay as they are', () => {
      const { merged: first, wroteInputs } = run();
      if (wroteInputs)
        fail('it writes into its inputs', 'Write to `out` and to arrays of your own alone.');
      same(merged(), first, 'a second call', 'Hold no state outside of `merge`.');
    }),

    check('it reads no scratch memory that it has not written', () => {
      const remedy = 'What group.scratch gives holds what the tensor before left there: fill it.';
      same(merged({ memory: usedMemory() }), merged(), 'with used memory', remedy);
    }),

    check('it gives the same however tensors are cut', () => {
      const whole = merged();
      for (const chunkElements of [1, 7, 40]) {
        const cut = merged({ chunkElements });
        const i = cut.findIndex((value, j) => !(Math.abs(value - whole[j]!) <= 1e-5));
        if (i >= 0)
          fail(
            `in pieces of ${chunkElements}, element ${i} is ${cut[i]}, and ${whole[i]} in one`,
            'Read what a whole tensor decides in a pass over group.chunks(), or ask for rows or the ' +
              'tensor: `chunks`.',
          );
      }
    }),

    check('it writes every element, of any shape', () => {
      for (const shape of [[1], [13], [7, 13], [2, 3, 5], []]) {
        const length = shape.reduce((a, b) => a * b, 1);
        finiteOrRefused({ shape, tensors: tensorsOf(usual, length) }, `of shape [${shape}]`);
      }
      finite(merged({ dtype: 'bfloat16' }), 'in bfloat16');
    }),

    check('zero, equal and opposite inputs give finite numbers, or an error', () => {
      const [x] = tensorsOf(1);
      const scaled = (...factors: number[]) =>
        Array.from({ length: usual }, (_, k) => x!.map((v) => v * factors[k % factors.length]!));
      const inputs = {
        zero: scaled(0),
        'zero but for the first': scaled(1, 0, 0, 0, 0, 0),
        equal: scaled(1),
        parallel: scaled(1, 2, 3),
        opposite: scaled(1, -1),
        'very small': scaled(1e-9, -2e-9, 1e-9),
      };
      for (const [what, tensors] of Object.entries(inputs))
        finiteOrRefused({ tensors }, `inputs that are ${what}`);
    }),

    method.base === 'ignored'
      ? check('a base is one more input', () => {
          const remedy = "Read group.inputs, or say base: 'required' or 'optional'.";
          same(merged({ baseIndex: usual - 1 }), merged(), 'with a base', remedy);
        })
      : check('the base may stand anywhere', () => {
          const [base, ...models] = tensorsOf(usual);
          const expected = merged();
          for (let at = 1; at < usual; at++) {
            const tensors = models.toSpliced(at, 0, base!);
            same(
              merged({ tensors, baseIndex: at }),
              expected,
              `with the base as input ${at}`,
              'Read chunk.base and chunk.models, and count by group.numModels.',
            );
          }
          if (method.base === 'optional') {
            const count = countsOf(method, null).at(-1) ?? 0;
            finite(merged({ tensors: tensorsOf(count), baseIndex: null }), 'without a base');
          }
        }),

    check('it takes as many inputs as it says', () => {
      if (counts.length === 0)
        fail('it takes no number of inputs up to six', 'Look at `inputs` and `models`.');
      for (const count of counts)
        finiteOrRefused({ tensors: tensorsOf(count) }, `with ${count} inputs`);
    }),

    check(
      isRandom ? 'the seed alone decides what is random' : 'it does not depend on the seed',
      () => {
        const first = merged({ seed: 1 });
        same(merged({ seed: 1 }), first, 'the same seed', 'Draw from arithmetic.random alone.');
        const other = merged({ seed: 2 });
        if (!isRandom) same(other, first, 'another seed', 'It is random: tell the kit isRandom.');
        else if (other.every((value, i) => value === first[i]))
          fail('another seed gives the same', 'Draw from arithmetic.random.');
      },
    ),
  ];
}
