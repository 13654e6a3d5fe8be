import { optimizerKit } from '@attune/core/testing';
import { type Optimizer, type OptimizerDefinition, SGD } from '@attune/core/training';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { builtinOptimizers } from '../../src/optim/builtin.js';

// One name of each: the others are the same object under another.
const names: readonly (readonly [string, object?])[] = [
  ['adamw_torch'],
  ['adamw_bnb_8bit'],
  ['sgd'],
  ['sgd', { momentum: 0.9, nesterov: true }],
  ['adafactor'],
  ['adafactor', { beta1: 0.9, scaleParameter: true }],
  ['lion_32bit'],
  ['paged_adamw_32bit'],
  ['paged_adamw_8bit'],
  ['paged_lion_32bit'],
];
for (const [name, options = {}] of names)
  describe(`${name} ${JSON.stringify(options)}`, () => {
    const definition = builtinOptimizers.find((known) => known.name === name)!;
    for (const check of optimizerKit(definition, { options: { ...options } }))
      test(check.name, check.run);
  });

describe('the kit', () => {
  /** Gradient descent with momentum, with one mistake or none. */
  const own = (
    change: (sgd: Optimizer) => Partial<Optimizer> = () => ({}),
    options = z.strictObject({}),
  ) => ({
    name: 'own',
    options,
    create: (...[engine, groups]: Parameters<OptimizerDefinition['create']>): Optimizer => {
      const sgd: Optimizer = new SGD(engine, groups, { momentum: 0.5 });
      return {
        gradients: () => sgd.gradients!(),
        clipGradNorm: (...args) => sgd.clipGradNorm(...args),
        step: (given) => sgd.step(given),
        zeroGrad: () => sgd.zeroGrad(),
        get stepCount() {
          return sgd.stepCount;
        },
        exportState: () => sgd.exportState(),
        importState: (...args) => sgd.importState(...args),
        dispose: () => sgd.dispose(),
        ...change(sgd),
      };
    },
  });
  /** What the first check that fails says. */
  const failure = async (definition: OptimizerDefinition) => {
    for (const { run } of optimizerKit(definition))
      try {
        await run();
      } catch (error) {
        return (error as Error).message;
      }
    return '';
  };

  test('passes a sound optimizer', async () => {
    expect(await failure(own())).toBe('');
  });

  test.each<[string, OptimizerDefinition, RegExp]>([
    [
      'options that are not strict',
      own(undefined, z.looseObject({}) as never),
      /an unknown option is taken/,
    ],
    [
      'a rate that is not the given one',
      own((sgd) => ({ step: ({ clip }) => sgd.step({ lr: 0.01, clip }) })),
      /at a rate of 0: /,
    ],
    [
      'the wrong way',
      own((sgd) => ({ step: ({ lr, clip }) => sgd.step({ lr: -lr, clip }) })),
      /20 updates at 0.1 bring a loss/,
    ],
    [
      'state that is not saved',
      own(() => ({ exportState: () => [], importState: async () => undefined })),
      /stepCount is 0 after importState\(2\)/,
    ],
    [
      'gradients that stay',
      own(() => ({ zeroGrad: () => undefined })),
      /20 updates at 0.1 bring a loss/,
    ],
    [
      'memory that stays',
      own(() => ({ dispose: () => undefined })),
      /has a gradient after dispose/,
    ],
    [
      'a loss scale that is not looked at',
      own((sgd) => ({ clipGradNorm: (maxNorm) => sgd.clipGradNorm(maxNorm) })),
      /the norm of a scaled loss/,
    ],
  ])('finds %s', async (_, definition, message) => {
    expect(await failure(definition)).toMatch(message);
  });
});
