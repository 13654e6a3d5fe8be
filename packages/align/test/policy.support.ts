import { snakeToCamel } from '@attune/core/util';
import { expect } from 'vitest';

/** A metric of TRL under the name that our logs have. */
export const camelMetric = (name: string): string =>
  name.includes('/') ? name : snakeToCamel(name);

export function close(
  found: ArrayLike<number>,
  expected: ArrayLike<number>,
  relative: number,
  absolute = 1e-12,
): void {
  expect(found.length).toBe(expected.length);
  for (let i = 0; i < expected.length; i++) {
    const bound = absolute + relative * Math.abs(expected[i]!);
    const difference = Math.abs(found[i]! - expected[i]!);
    if (!(difference <= bound))
      expect.fail(`[${i}] is ${found[i]}, expected ${expected[i]} within ${bound}`);
  }
}
