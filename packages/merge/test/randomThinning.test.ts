import { Rng } from '@attune/core/util';
import { expect, test } from 'vitest';
import { electKeptPair, type Weighed, weighKept } from '../src/arithmetic/randomThinning.js';
import { electSigns } from '../src/arithmetic/signElection.js';
import { bitsOf } from '../src/arithmetic/taskVectors.js';

test.each([0.01, 0.5, 0.99])(
  'two models in one loop are what the election of any number gives, at density %d',
  (density) => {
    const rng = new Rng(4);
    const values = () =>
      Float32Array.from({ length: 4096 }, () => {
        const draw = rng.below(6);
        return draw === 0 ? 0 : draw === 1 ? -0 : draw === 2 ? 0.5 : draw < 4 ? -0.5 : rng.normal();
      });
    const base = values();
    const weighed = (weight: number): Weighed => {
      const drawn = bitsOf(Float32Array.from({ length: 4096 }, () => rng.uniform()));
      const random = { draw: () => drawn, bound: bitsOf(Float32Array.of(density))[0]! };
      return { model: values(), scale: Math.fround(1 / density), weight, random };
    };
    for (const [a, b] of [
      [weighed(1), weighed(1)],
      [weighed(0.5), weighed(-Math.fround(0.7))],
    ] as const) {
      const array = () => new Float32Array(4096);
      const [first, second, sum, mixed, out] = [array(), array(), array(), array(), array()];
      weighKept(a, base, first);
      weighKept(b, base, second);
      electSigns({ deltas: [first, second], weights: [1, 1], sum, mixed, divisor: null });
      const expected = mixed.map((value, i) => base[i]! + value);
      electKeptPair(a, b, base, out);
      expect(out.findIndex((value, i) => value !== expected[i])).toBe(-1);
      expect(first.some((value) => value !== 0)).toBe(true);
    }
  },
);
