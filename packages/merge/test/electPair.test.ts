import { Rng } from '@attune/core/util';
import { expect, test } from 'vitest';
import { electPair, electSigns } from '../src/arithmetic/signElection.js';

test('two models in one loop are what the election of any number gives', () => {
  const rng = new Rng(4);
  const values = () =>
    Float32Array.from({ length: 4096 }, () => {
      const draw = rng.below(6);
      return draw === 0 ? 0 : draw === 1 ? -0 : draw === 2 ? 0.5 : draw === 3 ? -0.5 : rng.normal();
    });
  const [first, second, base] = [values(), values(), values()];
  const [sum, mixed, out] = [1, 2, 3].map(() => new Float32Array(4096)) as [
    Float32Array,
    Float32Array,
    Float32Array,
  ];
  electSigns({ deltas: [first, second], weights: [1, 1], sum, mixed, divisor: null });
  const expected = mixed.map((value, i) => base[i]! + value);
  electPair(first, second, base, sum, out);
  expect(out.every((value, i) => value === expected[i])).toBe(true);
});
