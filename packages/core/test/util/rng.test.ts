import { philox, Rng, toUnit } from '@attune/core/util';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

describe('philox 4x32-10', () => {
  // Known answers of Random123 (kat_vectors).
  it.each([
    {
      counter: [0, 0, 0, 0],
      key: [0, 0],
      words: [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
    },
    {
      counter: [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      key: [0xffffffff, 0xffffffff],
      words: [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    },
    {
      counter: [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      key: [0xa4093822, 0x299f31d0],
      words: [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    },
  ])('counter $counter, key $key', ({ counter, key, words }) => {
    const [c0, c1, c2, c3] = counter as [number, number, number, number];
    const [k0, k1] = key as [number, number];
    expect(philox([c0, c1, c2, c3], [k0, k1])).toEqual(words);
  });

  it('toUnit is in [0, 1) and exact in float32', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffffffff }), (word) => {
        const unit = toUnit(word);
        expect(unit >= 0 && unit < 1 && Math.fround(unit) === unit).toBe(true);
      }),
    );
  });
});

describe('Rng', () => {
  const take = (rng: Rng, n: number) => Array.from({ length: n }, () => rng.next());

  it('gives the same numbers for the same seed and stream, others for others', () => {
    const words = take(new Rng(5, 2), 20);
    expect(take(new Rng(5, 2), 20)).toEqual(words);
    expect(take(new Rng(6, 2), 20)).not.toEqual(words);
    expect(take(new Rng(5, 3), 20)).not.toEqual(words);
    expect(take(new Rng(5 + 2 ** 32, 2), 20)).not.toEqual(words);
  });

  it('goes on from a saved state, wherever it was taken', () => {
    fc.assert(
      fc.property(fc.nat(30), (before) => {
        const rng = new Rng(11);
        take(rng, before);
        const state = JSON.parse(JSON.stringify(rng.state()));
        expect(take(Rng.fromState(state), 9)).toEqual(take(rng, 9));
      }),
    );
  });

  it('permutation(n) holds each of 0..n-1 once', () => {
    fc.assert(
      fc.property(fc.nat(200), fc.nat(), (n, seed) => {
        const sorted = [...new Rng(seed).permutation(n)].sort((a, b) => a - b);
        expect(sorted).toEqual(Array.from({ length: n }, (_, i) => i));
      }),
    );
  });

  it('below(n) favours no value', () => {
    const rng = new Rng(3);
    const counts = new Array<number>(7).fill(0);
    for (let i = 0; i < 70_000; i++) counts[rng.below(7)]!++;
    // Standard deviation sqrt(70000 * 1/7 * 6/7) = 93; four of them.
    for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(4 * 93);
  });

  it('normal() has mean 0 and variance 1', () => {
    const rng = new Rng(4);
    const n = 50_000;
    let sum = 0;
    let squares = 0;
    for (let i = 0; i < n; i++) {
      const x = rng.normal();
      sum += x;
      squares += x * x;
    }
    expect(Math.abs(sum / n)).toBeLessThan(4 / Math.sqrt(n));
    expect(Math.abs(squares / n - 1)).toBeLessThan(4 * Math.sqrt(2 / n));
  });
});
