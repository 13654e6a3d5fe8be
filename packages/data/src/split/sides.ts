import { AttuneError } from '@attune/core';
import { philox } from '@attune/core/util';
import type { SplitName } from '../contract/dataRow.js';
import { largestRemainder } from '../mix/shares.js';
import type { HashNumbers } from './hash64.js';

/** Sides by number. */
export const SIDES: readonly SplitName[] = ['train', 'validation', 'test'];
const [VALIDATION, TEST] = [1, 2];

/** Sizes of the sides that are held out: a share below 1 of the groups, or a count from 1 on. */
export interface SideSizes {
  readonly testSize: number;
  readonly validationSize: number;
}

/** Groups of each held-out side: ceil(share * groups), as scikit-learn. */
export function sideCounts(
  groups: number,
  { testSize, validationSize }: SideSizes,
): { readonly test: number; readonly validation: number } {
  const count = (size: number) => (size < 1 ? Math.ceil(size * groups) : size);
  const [test, validation] = [count(testSize), count(validationSize)];
  if (test + validation < groups) return { test, validation };
  const held =
    validationSize === 0 ? `test takes ${test}` : `test takes ${test}, validation ${validation}`;
  throw new AttuneError(
    'DATA_SPLIT_EMPTY',
    `there ${groups === 1 ? 'is 1 group' : `are ${groups} groups`}, ${held}: nothing is left for train.`,
    {
      remedy:
        'Hold out less, or group by something with more values. Leave groupBy out to split row by row.',
    },
  );
}

/**
 * The side of each group. Groups are ordered by a random number that is a function of seed and
 * group: the order of rows and files plays no part. The first ones are test, the next validation.
 *
 * @param strata the stratum of each group, from 0 on; null: one for all
 */
export function assignSides(
  groups: HashNumbers,
  sizes: SideSizes,
  seed: number,
  strata: { readonly of: Uint32Array; readonly count: number } | null,
): Uint8Array {
  const { test, validation } = sideCounts(groups.length, sizes);
  const ranks = new Float64Array(groups.length);
  for (let i = 0; i < groups.length; i++) {
    const [high, low] = groups.at(i);
    const [a, b] = philox(
      [low, high, 0x53504c54, 0],
      [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0],
    );
    ranks[i] = a * 2 ** 21 + (b >>> 11);
  }
  const order = Uint32Array.from(ranks, (_, i) => i).sort(
    (a, b) => ranks[a]! - ranks[b]! || compareHashes(groups, a, b),
  );
  const stratumOf = (group: number) => strata?.of[group] ?? 0;
  const sizesOf = new Array<number>(strata?.count ?? 1).fill(0);
  for (const group of order) sizesOf[stratumOf(group)]!++;
  const tests = largestRemainder(test, sizesOf);
  const validations = largestRemainder(
    validation,
    sizesOf.map((size, i) => size - tests[i]!),
  );
  const sides = new Uint8Array(groups.length);
  for (const group of order) {
    const stratum = stratumOf(group);
    if (tests[stratum]! > 0) {
      tests[stratum]!--;
      sides[group] = TEST!;
    } else if (validations[stratum]! > 0) {
      validations[stratum]!--;
      sides[group] = VALIDATION!;
    }
  }
  return sides;
}

function compareHashes(groups: HashNumbers, a: number, b: number): number {
  const [highA, lowA] = groups.at(a);
  const [highB, lowB] = groups.at(b);
  return highA - highB || lowA - lowB;
}
