import { describe, expect, test } from 'vitest';
import { chunkedGroup } from '../src/arithmetic/chunkedGroup.js';
import { type MergeTensorsOptions, mergeTensors } from '../src/arithmetic/mergeTensors.js';
import { orderStatistics } from '../src/arithmetic/orderStatistics.js';
import { roundings } from '../src/arithmetic/rounding.js';
import type { MergeMethod } from '../src/contract/mergeMethod.js';
import { arceeFusion } from '../src/methods/arceeFusion.js';
import { karcher } from '../src/methods/karcher.js';
import { modelStock } from '../src/methods/modelStock.js';
import { multislerp } from '../src/methods/multislerp.js';
import { nearswap } from '../src/methods/nearswap.js';
import { nuslerp } from '../src/methods/nuslerp.js';
import { passthrough } from '../src/methods/passthrough.js';
import { slerp } from '../src/methods/slerp.js';

const wave = (length: number, seed: number, scale = 1): Float32Array =>
  Float32Array.from({ length }, (_, i) => scale * Math.sin(seed + 1.7 * i + 0.3 * seed * i));
const times = (x: Float32Array, c: number): Float32Array => x.map((value) => c * value);
const plus = (x: Float32Array, y: Float32Array): Float32Array => x.map((value, i) => value + y[i]!);

function near(found: Float32Array, expected: ArrayLike<number>, tolerance = 1e-6): void {
  expect(found.length).toBe(expected.length);
  const worst = found.reduce((max, value, i) => Math.max(max, Math.abs(value - expected[i]!)), 0);
  expect(worst).toBeLessThanOrEqual(tolerance);
}

const run = (
  method: MergeMethod,
  tensors: readonly Float32Array[],
  parameters: Readonly<Record<string, unknown>> = {},
  options: MergeTensorsOptions = {},
) => mergeTensors(tensors, method, { parameters, ...options });

const x = wave(91, 1);
const y = wave(91, 2);
const z = wave(91, 3);
const zero = new Float32Array(91);

describe('slerp', () => {
  test('halfway between orthogonal vectors', () => {
    const found = run(slerp, [Float32Array.of(1, 0), Float32Array.of(0, 2)], { t: 0.5 }, base(0));
    near(found, [Math.SQRT1_2, Math.SQRT2]);
  });
  test('0 is the base and 1 the model, whichever stands first', () => {
    expect(run(slerp, [x, y], { t: 0 }, base(1))).toEqual(y);
    expect(run(slerp, [x, y], { t: 1 }, base(1))).toEqual(x);
  });
  test('with a zero tensor the other one comes out shorter', () => {
    near(run(slerp, [x, zero], { t: 0.5 }, base(0)), times(x, Math.SQRT1_2));
  });
  test('opposite tensors are interpolated linearly', () => {
    near(run(slerp, [x, times(x, -3)], { t: 0.25 }, base(0)), zero);
  });
});

describe('nuslerp', () => {
  test('opposite tensors are interpolated linearly, for any weights', () => {
    for (let seed = 0; seed < 20; seed++) {
      const one = wave(91, seed);
      near(run(nuslerp, [one, times(one, -1)], { weight: [0.7, 0.3] }), times(one, 0.4));
    }
  });
  test('each row by itself', () => {
    const shape = [2, 2];
    const [one, other] = [Float32Array.of(1, 0, 3, 4), Float32Array.of(0, 2, 3, 4)];
    const options = { weight: 1, nuslerpFlatten: false };
    near(run(nuslerp, [one, other], options, { shape }), [Math.SQRT1_2, Math.SQRT2, 3, 4]);
  });
  test('each column by itself', () => {
    const shape = [2, 2];
    const [one, other] = [Float32Array.of(1, 3, 0, 4), Float32Array.of(0, 3, 2, 4)];
    const options = { weight: 1, nuslerpFlatten: false, nuslerpRowWise: true };
    near(run(nuslerp, [one, other], options, { shape }), [Math.SQRT1_2, 3, Math.SQRT2, 4]);
  });
});

describe('multislerp', () => {
  test('the mean direction times the mean norm', () => {
    const tensors = [Float32Array.of(2, 0), Float32Array.of(0, 4)];
    near(run(multislerp, tensors, { weight: 1 }), [3 * Math.SQRT1_2, 3 * Math.SQRT1_2]);
  });
  test('two that cancel are interpolated linearly, scaled or not', () => {
    near(run(multislerp, [x, times(x, -3)], { weight: 1 }), times(x, -1));
  });
  test('three that cancel are an error with their tensor', () => {
    const [one, other] = [times(x, 2), times(x, -1)];
    for (const dtype of ['float32', 'bfloat16'] as const)
      expect(() =>
        run(multislerp, [one, other, zero], { weight: 1 }, { dtype, name: 'model.norm.weight' }),
      ).toThrow('directions of the models cancel in model.norm.weight');
  });
  test('models that did not change leave the base', () => {
    for (const dtype of ['float32', 'bfloat16'] as const) {
      const held = z.map(roundings[dtype]);
      const found = run(multislerp, [held, held, held, held], { weight: 1 }, { ...base(2), dtype });
      expect(found).toEqual(held);
    }
  });
  test('weights that add up to 0 are refused; one model needs none', () => {
    expect(() => run(multislerp, [x, y], { weight: [1, -1] })).toThrow('add up to 0');
    expect(run(multislerp, [x, y], { weight: 0 }, base(0))).toEqual(y);
  });
});

/** The definition, on elements in float64. */
function karcherByElements(tensors: readonly Float32Array[], steps = 10, tol = 1e-5): number[] {
  const dot = (a: ArrayLike<number>, b: ArrayLike<number>) =>
    Array.from(a).reduce((sum, value, i) => sum + value * b[i]!, 0);
  const norms = tensors.map((t) => Math.sqrt(dot(t, t)));
  const units = tensors.map((t, k) => Array.from(t, (value) => value / norms[k]!));
  const unit = (v: readonly number[]) => v.map((value) => value / Math.sqrt(dot(v, v)));
  let mean = unit(units[0]!.map((_, i) => units.reduce((sum, u) => sum + u[i]!, 0)));
  for (let step = 0; step < steps; step++) {
    const tangent = mean.map(() => 0);
    for (const u of units) {
      const cosine = Math.max(-1, Math.min(1, dot(mean, u)));
      const theta = Math.acos(cosine);
      if (theta < tol) continue;
      for (const i of tangent.keys())
        tangent[i]! += ((theta / Math.sin(theta)) * (u[i]! - cosine * mean[i]!)) / units.length;
    }
    const length = Math.sqrt(dot(tangent, tangent));
    if (length < tol) break;
    mean = unit(
      mean.map((m, i) => Math.cos(length) * m + (Math.sin(length) * tangent[i]!) / length),
    );
  }
  const scale = norms.reduce((a, b) => a + b) / norms.length;
  return mean.map((m) => scale * m);
}

describe('karcher', () => {
  test('products of tensors are enough: the same as element by element', () => {
    const inputs = [
      [x, y, z],
      [x, times(y, 40), z, plus(x, y)],
      [x, plus(x, wave(91, 7, 1e-3)), plus(x, wave(91, 8, 1e-3))],
      [x, plus(x, wave(91, 7, 1e-6))],
      [x, plus(times(x, -1), wave(91, 7, 1e-2)), z],
      [x, plus(times(x, -1), wave(91, 7, 1e-4)), z],
    ];
    for (const tensors of inputs) near(run(karcher, tensors), karcherByElements(tensors));
  });
  test('equal tensors stay; of opposite ones the first has the direction', () => {
    near(run(karcher, [x, x, x]), x);
    near(run(karcher, [x, times(x, -1)]), x);
    near(run(karcher, [x, times(x, -3)]), times(x, 2));
  });
  test('zero tensors count in the norm alone', () => {
    near(run(karcher, [x, zero]), times(x, 0.5));
    expect(run(karcher, [zero, zero])).toEqual(zero);
  });
});

describe('model stock', () => {
  test('differences at 60 degrees: two thirds of the way to their mean', () => {
    const models = [Float32Array.of(1, 0), Float32Array.of(0.5, Math.sqrt(0.75))];
    const found = run(modelStock, [new Float32Array(2), ...models], {}, base(0));
    near(found, [0.5, Math.sqrt(0.75) / 3]);
  });
  test('each row has its own ratio', () => {
    const rows = Float32Array.of(1, 0, 1, 0);
    const other = Float32Array.of(1, 0, 0, 1); // the same in row 0, orthogonal in row 1
    const options = { ...base(0), shape: [2, 2] };
    const found = run(
      modelStock,
      [new Float32Array(4), rows, other],
      { filterWise: true },
      options,
    );
    near(found, [1, 0, 0, 0]);
  });
  test('differences that cancel leave the base', () => {
    expect(run(modelStock, [z, plus(z, x), plus(z, times(x, -1))], {}, base(0))).toEqual(z);
  });
});

describe('nearswap', () => {
  test('takes what is near, and moves what is far by t', () => {
    const a = Float32Array.of(0, 0, 0, 1);
    const b = Float32Array.of(0.125, -0.125, 1, -1);
    expect([...run(nearswap, [a, b], { t: 0.25 }, base(0))]).toEqual([0.125, -0.125, 0.25, 0.75]);
    expect(run(nearswap, [a, b], { t: -1 }, base(0))).toEqual(a);
  });
  test('is the formula of its docstring, for the smallest t too', () => {
    const b = plus(x, wave(91, 5, 3e-6));
    for (const t of [1e-3, 2e-6, 1e-6, 1e-7]) {
      const expected = x.map((value, i) => {
        const w = Math.min(1, t / Math.max(Math.abs(value - b[i]!), 1e-6));
        return w * b[i]! + (1 - w) * value;
      });
      near(run(nearswap, [x, b], { t }, base(0)), expected, 1e-7);
    }
  });
});

test('passthrough multiplies, or leaves the bits', () => {
  expect(run(passthrough, [x])).toEqual(x);
  expect(run(passthrough, [x], { scale: -0.5 })).toEqual(times(x, -0.5));
});

describe('arcee fusion', () => {
  test('takes the few elements that changed, and leaves the others', () => {
    const shape = [7, 13];
    const model = Float32Array.from(x);
    model[5] = 4;
    for (let i = 0; i < 91; i++) if (i !== 5) model[i]! += 1e-4 * Math.sin(i);
    const found = run(arceeFusion, [x, model], {}, { ...base(0), shape });
    expect(found[5]).toBe(4);
    expect(found.filter((value, i) => value !== x[i]).length).toBeLessThan(20);
  });
  test('tells the report what share it took', () => {
    const model = plus(x, wave(91, 5, 0.1));
    for (const i of [5, 50, 70]) model[i]! += 3;
    const tensors = [x, model];
    const group = chunkedGroup({
      name: 'x',
      shape: [7, 13],
      baseIndex: 0,
      chunks: 'rows',
      inputs: tensors.map((tensor) => ({
        read: (start, into) => into.set(tensor.subarray(start, start + into.length)),
      })),
    });
    let told: readonly number[] = [];
    arceeFusion.merge(
      group,
      {},
      {
        dtype: 'float32',
        round: Math.fround,
        random: () => () => undefined,
        kept: (shares) => {
          told = shares;
        },
      },
    );
    const found = run(arceeFusion, tensors, {}, { ...base(0), shape: [7, 13] });
    const taken = found.filter((value, i) => value !== x[i]).length;
    expect(told).toEqual([taken / 91]);
    expect(taken).toBeGreaterThan(0);
  });
  test('places in sorted order are exact: negative numbers, ties, zeros, subnormals', () => {
    const values = Float32Array.from({ length: 10_001 }, (_, i) =>
      i % 3 ? Math.fround(Math.sin(i) * 10 ** ((i % 80) - 45)) : i % 2 ? -1 : 0,
    );
    const places = [0, 1, 2500, 5000, 7500, 9999, 10_000];
    const found = orderStatistics((take) => {
      for (let start = 0; start < values.length; start += 777)
        take(values.subarray(start, start + 777));
    }, places);
    const sorted = values.toSorted();
    // -0 and 0 are one number; the sort has them in one order, bits too.
    expect(found).toEqual(places.map((place) => sorted[place]));
  });
});

test('pieces of any size give the same but for the rounding of sums', () => {
  const shape = [7, 13];
  const runs: [MergeMethod, number, Readonly<Record<string, unknown>>, number | null][] = [
    [slerp, 2, { t: 0.3 }, 0],
    [nuslerp, 3, { weight: [1, 2] }, 1],
    [nuslerp, 2, { weight: [1, 2], nuslerpFlatten: false }, null],
    [nuslerp, 3, { weight: [1, 2], nuslerpFlatten: false, nuslerpRowWise: true }, 0],
    [multislerp, 3, { weight: [1, 2] }, 0],
    [karcher, 3, {}, null],
    [modelStock, 3, {}, 0],
    [modelStock, 3, { filterWise: true }, 2],
    [nearswap, 2, { t: 0.2 }, 0],
    [passthrough, 1, { scale: 2 }, null],
    [arceeFusion, 2, {}, 0],
  ];
  for (const [method, count, parameters, baseIndex] of runs)
    for (const dtype of ['float32', 'bfloat16'] as const) {
      const tensors = [x, y, z].slice(0, count);
      const options = { shape, dtype, ...(baseIndex !== null && { baseIndex }) };
      const whole = run(method, tensors, parameters, options);
      for (const chunkElements of [1, 7, 64])
        near(
          run(method, tensors, parameters, { ...options, chunkElements }),
          whole,
          dtype === 'float32' ? 1e-6 : 0.01,
        );
    }
});

test('how many inputs there may be, and the base that is needed', () => {
  const wrong: [MergeMethod, readonly Float32Array[], object, MergeTensorsOptions, string][] = [
    [slerp, [x, y], { t: 0.5 }, {}, 'needs a base model'],
    [slerp, [x, y, z], { t: 0.5 }, base(0), 'exactly 2 inputs, got 3'],
    [nuslerp, [x, y], { weight: 1 }, base(0), 'exactly 2 inputs but the base, got 1'],
    [modelStock, [x, y], {}, base(0), 'at least 3 inputs, got 2'],
    [nearswap, [x], { t: 1 }, base(0), 'exactly 2 inputs, got 1'],
    [arceeFusion, [x, y], {}, {}, 'needs a base model'],
    [passthrough, [x, y], {}, {}, 'exactly 1 input, got 2'],
    [multislerp, [x], { weight: 1 }, base(0), 'at least 1 input but the base, got 0'],
  ];
  for (const [method, tensors, parameters, options, message] of wrong)
    expect(() => run(method, tensors, { ...parameters }, options)).toThrow(message);
});

function base(baseIndex: number): MergeTensorsOptions {
  return { baseIndex };
}
