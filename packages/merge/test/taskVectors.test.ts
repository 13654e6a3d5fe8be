import { describe, expect, test } from 'vitest';
import { chunkedGroup } from '../src/arithmetic/chunkedGroup.js';
import { type MergeTensorsOptions, mergeTensors } from '../src/arithmetic/mergeTensors.js';
import { uniformStreams } from '../src/arithmetic/uniformStreams.js';
import type { MergeMethod } from '../src/contract/mergeMethod.js';
import { breadcrumbs } from '../src/methods/breadcrumbs.js';
import { breadcrumbsTies } from '../src/methods/breadcrumbsTies.js';
import { dareLinear } from '../src/methods/dareLinear.js';
import { dareTies } from '../src/methods/dareTies.js';
import { della } from '../src/methods/della.js';
import { dellaLinear } from '../src/methods/dellaLinear.js';
import { ram } from '../src/methods/ram.js';
import { ramplusTl } from '../src/methods/ramplusTl.js';
import { sce } from '../src/methods/sce.js';
import { taskArithmetic } from '../src/methods/taskArithmetic.js';
import { ties } from '../src/methods/ties.js';

const sparsifying = [
  breadcrumbs,
  breadcrumbsTies,
  dareLinear,
  dareTies,
  della,
  dellaLinear,
  ties,
] as const;

const wave = (length: number, seed: number, scale = 1): Float32Array =>
  Float32Array.from({ length }, (_, i) => scale * Math.sin(seed + 1.7 * i + 0.3 * seed * i));

/** Merges into zeros, or into `base` of the options. */
const run = (
  method: MergeMethod,
  models: readonly Float32Array[],
  parameters: Readonly<Record<string, unknown>> = {},
  { base, ...options }: MergeTensorsOptions & { base?: Float32Array } = {},
): number[] => [
  ...mergeTensors([base ?? new Float32Array(models[0]!.length), ...models], method, {
    parameters,
    baseIndex: 0,
    ...options,
  }),
];

const float32 = (values: readonly number[]): number[] => [...Float32Array.from(values)];
const l1 = (values: readonly number[]) => values.reduce((sum, x) => sum + Math.abs(x), 0);

describe('what the formulas say', () => {
  const a = Float32Array.of(1, -2, 0.125, 3);
  const b = Float32Array.of(-0.5, -1, 0.25, -4);

  test('task arithmetic adds weighted differences', () => {
    const base = Float32Array.of(1, 1, 1, 1);
    expect(run(taskArithmetic, [a, b], { weight: [2, -1], lambda: 0.5 }, { base })).toEqual([
      1.75, -1, 0.5, 5.5,
    ]);
    const parameters = { weight: [3, 1], normalize: true };
    expect(run(taskArithmetic, [a, b], parameters)).toEqual([0.625, -1.75, 0.15625, 1.25]);
  });

  test('TIES trims, elects, and takes the mean of those that agree', () => {
    expect(run(ties, [a, b], { weight: 1, density: 0.5 })).toEqual([0, -1.5, 0, -4]);
    expect(run(ties, [a, b], { weight: 1, density: 0.5, normalize: false })).toEqual([
      0, -3, 0, -4,
    ]);
  });

  test('signs that cancel count as +', () => {
    const [plus, minus] = [Float32Array.of(2), Float32Array.of(-2)];
    expect(run(ties, [minus, plus], { weight: 1 })).toEqual([2]);
  });

  test('where one model alone is not 0, its weight does not count', () => {
    const [one, none] = [Float32Array.of(3), Float32Array.of(0)];
    expect(run(ties, [one, none], { weight: [0.25, 1] })).toEqual([3]);
    expect(run(ties, [one, none], { weight: [0.25, 1], normalize: false })).toEqual([0.75]);
  });

  test('breadcrumbs drops the largest, then the smallest', () => {
    const x = Float32Array.of(5, -1, 4, -3, 2, 6, -8, 7, 10, 9);
    const parameters = { weight: 1, density: 0.5, gamma: 0.2 };
    expect(run(breadcrumbs, [x], parameters)).toEqual([5, 0, 4, 0, 0, 6, -8, 7, 0, 0]);
    // With density + gamma > 1 fewer large ones go.
    const most = { weight: 1, density: 0.9, gamma: 0.4 };
    expect(run(breadcrumbs, [x], most)).toEqual([5, -1, 4, -3, 2, 6, -8, 7, 0, 9]);
  });

  test('SCE weighs models by their squares', () => {
    // Mean squares 5 and 5/4: weights 4/5 and 1/5.
    const [x, y] = [Float32Array.of(1, 3), Float32Array.of(0.5, -1.5)];
    const found = run(sce, [x, y]);
    expect(found[0]).toBeCloseTo(0.9, 6);
    expect(found[1]).toBeCloseTo(3, 6);
    // The second element differs most.
    expect(run(sce, [x, y], { selectTopk: 0.5 })[0]).toBe(0);
  });

  test('RAM takes the mean of what is shared, and all of what is not', () => {
    const [x, y] = [Float32Array.of(1, 2, 0, 1e-6), Float32Array.of(3, 0, 4, 0)];
    expect(run(ram, [x, y])).toEqual([2, 2, 4, 0]);
    // One shared, one alone: 1 + 0.1 * min(1, 0.2).
    expect(run(ramplusTl, [x, y])).toEqual(float32([2, 2.04, 4.08, 0]));
  });

  test('without another model the base comes out', () => {
    const base = wave(7, 1);
    for (const method of [...sparsifying, taskArithmetic, sce, ram, ramplusTl])
      expect([
        ...mergeTensors([base], method, {
          baseIndex: 0,
          parameters: method.parameters.weight ? { weight: [] } : {},
        }),
      ]).toEqual([...base]);
  });
});

describe('properties', () => {
  test('TIES of one model, whole and with weight 1, is that model', () => {
    const base = wave(91, 1);
    const model = wave(91, 2).map((x, i) => base[i]! + x);
    const difference = model.map((x, i) => base[i]! + Math.fround(x - base[i]!));
    expect(run(ties, [model], { weight: 1 }, { base })).toEqual([...difference]);
  });

  test('pieces do not change a bit', () => {
    const [x, y, z] = [wave(546, 2), wave(546, 3), wave(546, 4, 0.5)];
    const weighted = { weight: [1, -0.7, 0.3], density: [0.3, 0.5, 0.6], rescale: true };
    for (const shape of [[546], [42, 13], [6, 7, 13]])
      for (const [method, parameters] of [
        ...sparsifying.map((method) => [method, weighted] as const),
        [sce, { selectTopk: 0.4 }] as const,
        [ramplusTl, { epsilon: 0.4 }] as const,
      ])
        for (const dtype of ['float32', 'bfloat16'] as const) {
          const whole = run(method, [x, y, z], parameters, { shape, dtype, base: wave(546, 1) });
          for (const chunkElements of [1, 7, 64])
            expect(
              run(method, [x, y, z], parameters, {
                shape,
                dtype,
                base: wave(546, 1),
                chunkElements,
              }),
            ).toEqual(whole);
        }
  });

  test('a piece for DELLA is made of whole slices', () => {
    const lengths = (shape: readonly number[]) =>
      [
        ...chunkedGroup({
          name: 'x',
          shape,
          inputs: [{ read: () => {} }],
          baseIndex: 0,
          chunks: 'slices',
          chunkElements: 8,
        }).chunks(),
      ].map(({ length }) => length);
    expect(lengths([4, 3])).toEqual([6, 6]);
    expect(lengths([2, 3, 5])).toEqual([15, 15]);
    expect(lengths([12])).toEqual([12]);
    expect(lengths([])).toEqual([1]);
  });

  test('density 0 is the base, density 1 drops nothing', () => {
    const base = wave(30, 1);
    const model = wave(30, 2);
    for (const method of sparsifying) {
      expect(run(method, [model], { weight: 1, density: 0 }, { base })).toEqual([...base]);
      expect(run(method, [model], { weight: 1, density: 1 }, { base })).toEqual(
        run(taskArithmetic, [model], { weight: 1 }, { base }),
      );
    }
  });

  test('exactly as many stay as density says, whatever is equal at the cut: the first', () => {
    const equal = Float32Array.of(1, -1, 1, 2, -1, 1, 0, 1);
    expect(run(ties, [equal], { weight: 1, density: 0.5 })).toEqual([1, -1, 1, 2, 0, 0, 0, 0]);
    expect(run(breadcrumbs, [equal], { weight: 1, density: 0.5, gamma: 0.25 })).toEqual([
      1, -1, 1, 0, -1, 0, 0, 0,
    ]);
    for (const density of [1e-4, 0.1, 0.37, 0.5, 0.999]) {
      const coarse = wave(1000, 3).map((x) => Math.round(x * 6 + 0.5) || 1);
      const kept = run(ties, [coarse], { weight: 1, density }).filter((x) => x !== 0);
      const wanted = Math.max(1, Math.trunc(density * 1000));
      expect(kept).toHaveLength(wanted);
      const sorted = [...coarse].map(Math.abs).sort((a, b) => b - a);
      expect(l1(kept)).toBe(l1(sorted.slice(0, wanted)));
    }
  });

  test('rescale keeps the L1 norm', () => {
    const x = wave(4096, 5);
    for (const method of [ties, dareLinear, dellaLinear, breadcrumbs]) {
      const shape = [64, 64];
      const parameters = { weight: 1, density: 0.3, rescale: true, normalize: false };
      const ratio = l1(run(method, [x], parameters, { shape })) / l1([...x]);
      expect(Math.abs(ratio - 1)).toBeLessThan(1e-6);
    }
  });

  test('float16 sums beyond 65504 do not become infinite', () => {
    const x = new Float32Array(4096).fill(60);
    const found = run(ties, [x], { weight: 1, density: 0.5, rescale: true }, { dtype: 'float16' });
    expect(found.filter((y) => y === 120)).toHaveLength(2048);
  });
});

describe('random masks', () => {
  const n = 2 ** 18;
  const ones = new Float32Array(n).fill(1);
  const unscaled = { weight: 1, rescale: false };

  test('DARE keeps a share of density, within 3 standard errors', () => {
    for (const density of [0.01, 0.2, 0.5, 0.9]) {
      const kept = run(dareLinear, [ones], { ...unscaled, density });
      const share = l1(kept) / n;
      expect(Math.abs(share - density)).toBeLessThan(3 * Math.sqrt((density * (1 - density)) / n));
    }
  });

  test('rescaled, the mean stays: exactly that of equal differences', () => {
    const found = run(dareLinear, [ones], { weight: 1, density: 0.2 });
    expect(Math.abs(l1(found) / n - 1)).toBeLessThan(1e-6);
  });

  test('each model has a mask of its own, each seed and tensor too', () => {
    const parameters = { weight: 1, density: 0.5, rescale: false };
    const sum = run(dareLinear, [ones, ones], parameters);
    for (const value of [0, 1, 2]) {
      const expected = value === 1 ? 0.5 : 0.25;
      const share = sum.filter((x) => x === value).length / n;
      expect(Math.abs(share - expected)).toBeLessThan(
        3 * Math.sqrt((expected * (1 - expected)) / n),
      );
    }
    const masks = [uniformStreams(0, 'a'), uniformStreams(0, 'b'), uniformStreams(1, 'a')].map(
      (random) => run(dareLinear, [ones.subarray(0, 64)], parameters, { random }).join(),
    );
    expect(new Set(masks).size).toBe(3);
  });

  test('DELLA keeps by rank: from density - epsilon to density + epsilon', () => {
    const [rows, columns] = [2 ** 10, 2 ** 8];
    // Column j has rank j in each row.
    const x = Float32Array.from({ length: n }, (_, i) => 1 + (i % columns));
    const parameters = { ...unscaled, density: 0.4, epsilon: 0.3 };
    const found = run(dellaLinear, [x], parameters, { shape: [rows, columns] });
    for (const [from, to] of [
      [0, 32],
      [112, 144],
      [224, 256],
    ] as const) {
      let kept = 0;
      let expected = 0;
      for (let j = from; j < to; j++) {
        expected += 0.1 + (0.6 * j) / (columns - 1);
        for (let row = 0; row < rows; row++) if (found[row * columns + j] !== 0) kept++;
      }
      const count = (to - from) * rows;
      const share = expected / (to - from);
      expect(Math.abs(kept / count - share)).toBeLessThan(
        3 * Math.sqrt((share * (1 - share)) / count),
      );
    }
  });

  test('DELLA keeps a row of one element with probability density', () => {
    const parameters = { ...unscaled, density: 0.3 };
    const share = l1(run(dellaLinear, [ones], parameters, { shape: [n, 1] })) / n;
    expect(Math.abs(share - 0.3)).toBeLessThan(3 * Math.sqrt(0.21 / n));
  });
});

describe('what is refused', () => {
  const x = [wave(4, 1), wave(4, 2)];

  test.each<[MergeMethod, Record<string, unknown>, string]>([
    [ties, { weight: 1, density: 1.1 }, 'density[0] is 1.1'],
    [ties, { weight: 1, density: [0.5, -0.1] }, 'density[1] is -0.1'],
    [ties, {}, 'weight[0] is not given'],
    [breadcrumbs, { weight: 1, gamma: 2 }, 'gamma[0] is 2'],
    [della, { weight: 1, density: 0.1 }, 'density 0.1 with epsilon 0.15'],
    [dellaLinear, { weight: 1, density: 0.9 }, 'density 0.9 with epsilon 0.15'],
    [della, { weight: 1, density: 0.5, epsilon: -0.1 }, 'epsilon[0] is -0.1'],
    [taskArithmetic, { weight: [1, -1], normalize: true }, 'the weights 1, -1 add up to 0'],
    [dareLinear, { weight: [0, 0], normalize: true }, 'the weights 0, 0 add up to 0'],
    [sce, { selectTopk: 1.5 }, 'selectTopk is 1.5'],
    [ram, { epsilon: -1 }, 'epsilon is -1'],
    [ramplusTl, { alpha: -1 }, 'alpha is -1'],
  ])('%#', (method, parameters, message) => {
    expect(() => run(method, x, parameters)).toThrow(message);
  });

  test('no base', () => {
    expect(() => mergeTensors(x, ties, { parameters: { weight: 1 } })).toThrow('needs a base');
  });

  test('weights that add up to 0 are fine where those that agree are summed', () => {
    expect(run(ties, x, { weight: [1, -1], density: 1 })).toHaveLength(4);
    expect(run(della, x, { weight: 1, density: [0, 1] })).toHaveLength(4);
  });
});

test('the report hears what share of its changes a model keeps', () => {
  const said: number[][] = [];
  const x = Float32Array.of(1, 2, 3, 4, 0);
  const base = new Float32Array(5);
  const group = chunkedGroup({
    name: 'x',
    shape: [5],
    inputs: [base, x, x].map((values) => ({ read: (_, into) => into.set(values) })),
    baseIndex: 0,
    chunks: 'elements',
  });
  ties.merge(
    group,
    { weight: [1, 1], density: [0.4, 1], lambda: 1, normalize: true, rescale: false },
    {
      dtype: 'float32',
      round: Math.fround,
      random: uniformStreams(0, 'x'),
      kept: (shares) => said.push([...shares]),
    },
  );
  expect(said).toEqual([[0.5, 1]]);
});
