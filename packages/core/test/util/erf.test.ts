import { describe, expect, it } from 'vitest';
import { erf } from '../../src/util/erf.js';

describe('erf', () => {
  // Abramowitz and Stegun, table 7.1, and 1 - erfc(5) from Wolfram.
  it.each([
    [0, 0],
    [0.1, 0.1124629160182849],
    [0.5, 0.5204998778130465],
    [1, 0.8427007929497149],
    [2, 0.9953222650189527],
    [2.5, 0.999593047982555],
    [3, 0.9999779095030014],
    [5, 0.9999999999984626],
    [7, 1],
  ])('erf(%d) = %d, odd', (x, expected) => {
    expect(Math.abs(erf(x) - expected)).toBeLessThan(4e-16);
    expect(erf(-x)).toBe(-erf(x));
  });

  it('joins its two formulas without a step', () => {
    expect(Math.abs(erf(2.5) - erf(2.5 - 1e-15))).toBeLessThan(1e-15);
  });
});
