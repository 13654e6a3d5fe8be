import { AttuneError, type Engine } from '@attune/core';
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

const weightedShape = {
  /** LoRA adapters of this model. */
  adapters: z.array(z.string()).readonly().meta({ aka: 'adapternames' }),
  /** One for each; may be negative. */
  weights: z
    .custom<readonly number[]>(Array.isArray, 'expected an array of numbers')
    .meta({ aka: 'weight alphas' }),
  /** What to call the new one. */
  adapterName: z.string().min(1).meta({ aka: 'name newadaptername' }),
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
  /** 1 where nothing is thinned out. */
  readonly density: number;
  readonly seed: number;
  readonly rank: number;
}

export const invalid = (found: string, remedy: string): AttuneError =>
  new AttuneError('PEFT_COMBINATION', `addWeightedAdapter: ${found}.`, { remedy });

/**
 * Checks the options against the ranks of the adapters.
 *
 * @param ranks of each adapter, the largest over its layers
 * @throws PEFT_COMBINATION
 */
export function planCombination(
  options: WeightedAdapterOptions,
  ranks: readonly number[],
  engine: Engine,
): CombinationPlan {
  const { adapters, weights, combinationType = 'svd', density, svdRank, seed } = options;
  const peftCompat = options.peftCompat ?? false;
  if (adapters.length === 0 || adapters.length !== weights.length)
    throw invalid(
      `${adapters.length} adapters and ${weights.length} weights`,
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
  if (thins && !(density !== undefined && density >= 0 && density <= 1))
    throw invalid(
      `combinationType "${combinationType}" needs a density from 0 to 1, which is ${density}`,
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
    density: thins ? density! : 1,
    majoritySignMethod: options.majoritySignMethod ?? 'total',
    peftCompat: isSeparate,
    seed: seed ?? engine.seed,
    rank:
      type === 'cat' || (type === 'linear' && !isSeparate && svdRank === undefined)
        ? sum
        : isSeparate
          ? largest
          : (svdRank ?? largest),
  };
}
