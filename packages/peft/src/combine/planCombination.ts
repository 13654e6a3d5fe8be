import { AttuneError } from '@attune/core';
import type { algebra } from '@attune/core/tensor';
import type { OptionsInput } from '@attune/core/util';
import { z } from 'zod';
import { COMBINATIONS, type Combination } from './combine.js';

/** What `combinationType` may be. */
export type CombinationType =
  | 'svd'
  | 'cat'
  | Combination
  | 'ties_svd'
  | 'dare_linear_svd'
  | 'dare_ties_svd'
  | 'magnitude_prune_svd';

/** How adapters are combined, whether they are in a model or in files. */
export const combinationShape = {
  /**
   * How: "linear" adds the weight differences; "cat" puts the adapters side by side, which is the
   * same sum without any rounding; "svd" is "linear" cut to `svdRank`; "ties", "dare_linear",
   * "dare_ties" and "magnitude_prune" thin them out first (`density`). A name with "_svd" is the
   * same as without. Default "svd".
   */
  combinationType: z.custom<CombinationType>().default('svd').meta({ aka: 'type method' }),
  /**
   * Share of values that thinning keeps, 0 to 1. Needed by the combinations that thin out; default
   * none.
   */
  density: z.number().optional(),
  /**
   * How "ties" and "dare_ties" elect signs: by the sum of the values ("total") or by their number
   * ("frequency"). Default "total".
   */
  majoritySignMethod: z
    .custom<algebra.MajoritySignMethod>(
      (value) => value === 'total' || value === 'frequency',
      'expected "total" or "frequency"',
    )
    .default('total'),
  /**
   * Rank of the result. Default: the largest of the adapters; for "linear" the sum of their ranks,
   * which loses nothing.
   */
  svdRank: z.number().optional().meta({ aka: 'rank r' }),
  /**
   * Combine A and B each by themselves, as PEFT does for all but the "_svd" types: cheaper, of the
   * same rank, and another function than the sum of the adapters, because (A1 + A2)(B1 + B2) has
   * cross terms. Default false.
   */
  peftCompat: z.boolean().default(false),
};

const weightedShape = {
  /** LoRA adapters of this model. */
  adapters: z.array(z.string()).readonly().meta({ aka: 'adapternames' }),
  /** One for each; may be negative. */
  weights: z
    .custom<readonly number[]>(Array.isArray, 'expected an array of numbers')
    .meta({ aka: 'weight alphas' }),
  /** What to call the new one. */
  adapterName: z.string().min(1).meta({ aka: 'name newadaptername' }),
  ...combinationShape,
  /** Seed of the random masks of "dare_*". Default: the Attune's seed. */
  seed: z.int().min(0).optional(),
};
export const weightedAdapterOptions = z.strictObject(weightedShape);

/** Options of `addWeightedAdapter`, named as in PEFT. */
export type WeightedAdapterOptions = OptionsInput<typeof weightedShape>;

/** What the options mean for adapters of these ranks. */
export interface CombinationPlan {
  readonly majoritySignMethod: algebra.MajoritySignMethod;
  readonly peftCompat: boolean;
  readonly type: 'svd' | 'cat' | Combination;
  /** One for each adapter; 1 where nothing is thinned out. */
  readonly densities: readonly number[];
  readonly seed: number;
  readonly rank: number;
}

/** What is wrong with a call. @param where the function that was called */
export const invalidCombination =
  (where: string) =>
  (found: string, remedy: string): AttuneError =>
    new AttuneError('PEFT_COMBINATION', `${where}: ${found}.`, { remedy });

/** What is to be combined, and how. */
export interface CombinationInput {
  /** The function that was called, for messages. */
  readonly where: string;
  readonly weights: readonly number[];
  /** One for all adapters, or one for each. */
  readonly density: number | undefined | readonly (number | undefined)[];
  readonly combinationType?: CombinationType | undefined;
  readonly majoritySignMethod?: algebra.MajoritySignMethod | undefined;
  readonly svdRank?: number | undefined;
  readonly peftCompat?: boolean | undefined;
  readonly seed: number;
}

/**
 * Checks the options against the ranks of the adapters.
 *
 * @param ranks of each adapter, the largest over its layers
 * @throws PEFT_COMBINATION
 */
export function planCombination(
  input: CombinationInput,
  ranks: readonly number[],
): CombinationPlan {
  const { weights, combinationType = 'svd', svdRank, seed } = input;
  const invalid = invalidCombination(input.where);
  const peftCompat = input.peftCompat ?? false;
  if (ranks.length === 0 || ranks.length !== weights.length)
    throw invalid(
      `${ranks.length} adapters and ${weights.length} weights`,
      'Give one weight for each adapter, and at least one adapter.',
    );
  if (!weights.every(Number.isFinite))
    throw invalid(`weights are [${weights.join(', ')}]`, 'Give finite numbers.');
  const isSeparate = peftCompat && (COMBINATIONS as readonly string[]).includes(combinationType);
  const type = combinationType.replace(/_svd$/, '') as CombinationPlan['type'];
  const known = ['svd', 'cat', ...COMBINATIONS];
  if (!known.includes(type))
    throw invalid(`combinationType is "${combinationType}"`, `Known: ${known.join(', ')}.`);
  const thins = !['svd', 'cat', 'linear'].includes(type);
  const densities = ranks.map((_, i) =>
    typeof input.density === 'object' ? input.density[i] : input.density,
  );
  const odd = densities.find((d) => !(d !== undefined && d >= 0 && d <= 1));
  if (thins && !densities.every((d) => d !== undefined && d >= 0 && d <= 1))
    throw invalid(
      `combinationType "${combinationType}" needs a density from 0 to 1, which is ${odd}`,
      'Pass density, e.g. 0.5: the share of values that are kept.',
    );
  if (svdRank !== undefined && (!Number.isInteger(svdRank) || svdRank < 1))
    throw invalid(`svdRank is ${svdRank}`, 'Give a positive integer, or leave it out.');
  if (isSeparate && new Set(ranks).size > 1)
    throw invalid(
      `"${combinationType}" with peftCompat combines A and B by themselves, and the ranks are ${ranks.join(', ')}`,
      'Combine adapters of one rank, or leave peftCompat out.',
    );
  const sum = ranks.reduce((total, rank) => total + rank, 0);
  const largest = Math.max(...ranks);
  return {
    type,
    densities: thins ? (densities as number[]) : ranks.map(() => 1),
    majoritySignMethod: input.majoritySignMethod ?? 'total',
    peftCompat: isSeparate,
    seed,
    rank:
      type === 'cat' || (type === 'linear' && !isSeparate && svdRank === undefined)
        ? sum
        : isSeparate
          ? largest
          : (svdRank ?? largest),
  };
}
