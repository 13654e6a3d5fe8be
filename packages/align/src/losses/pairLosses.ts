import { AttuneError, type Tensor } from '@attune/core';
import * as logistic from './logisticLosses.js';
import * as margin from './marginLosses.js';
import {
  type PairLogProbs,
  type PairLoss,
  type PairLossOptions,
  pooledMean,
} from './pairLogProbs.js';
import { aot, aotUnpaired } from './sortedLosses.js';

/**
 * -log p of the chosen answer's tokens, divided by the mean length of chosen answers: its mean over
 * pairs is the mean over their tokens, [B]. Without `tokensPerPair` that is the mean length of this
 * batch, and with unequal lengths two batches are not one of both.
 */
const sft: PairLoss = (x) => {
  const tokens = x.chosenTokens ?? x.chosen;
  return x.tokensPerPair
    ? tokens.neg().div(x.tokensPerPair)
    : pooledMean(tokens, x.chosenCounts).neg();
};

/** The losses of `DPOTrainer`, by TRL's `loss_type`. */
export const pairLosses = {
  sigmoid: logistic.sigmoid,
  hinge: margin.hinge,
  ipo: margin.ipo,
  exo_pair: logistic.exoPair,
  nca_pair: logistic.ncaPair,
  robust: logistic.robust,
  bco_pair: logistic.bcoPair,
  sppo_hard: margin.sppoHard,
  aot,
  aot_unpaired: aotUnpaired,
  apo_zero: margin.apoZero,
  apo_down: margin.apoDown,
  discopop: logistic.discopop,
  sft,
  sigmoid_norm: logistic.sigmoidNorm,
} as const satisfies Readonly<Record<string, PairLoss>>;

/** Name of a pair loss. */
export type DpoLossType = keyof typeof pairLosses;

/** All names, for option schemas. */
export const dpoLossTypes = Object.keys(pairLosses) as readonly DpoLossType[];

/** Losses of one run, and their coefficients. */
export interface CombinedLossOptions extends PairLossOptions {
  /** Losses that are added up. */
  readonly lossType: readonly DpoLossType[];
  /** Weight of each; null or absent: 1 each. MPO takes 0.8, 0.2, 1 for sigmoid, bco_pair, sft. */
  readonly lossWeights?: readonly number[] | null;
}

/**
 * Sum of `lossWeights[i]` times loss i, [B].
 *
 * @param weights [B], which multiply the losses of the pairs: those of WPO. Default 1 each.
 * @see arXiv 2411.10442 for mixed preference optimisation
 */
export function combinedLoss(
  x: PairLogProbs,
  options: CombinedLossOptions,
  weights?: Tensor,
): Tensor {
  const { lossType, lossWeights } = options;
  const total = lossType
    .map((name, i) => pairLosses[name](x, options).mul(lossWeights?.[i] ?? 1))
    .reduce((sum, loss) => sum.add(loss));
  return weights ? total.mul(weights) : total;
}

/** Losses of the difference of scores, which is what an f-divergence changes. */
const underDivergences: readonly DpoLossType[] = [
  'sigmoid',
  'sigmoid_norm',
  'hinge',
  'ipo',
  'exo_pair',
  'robust',
  'discopop',
  'sft',
];
const smoothed: readonly DpoLossType[] = ['sigmoid', 'robust', 'exo_pair', 'aot', 'aot_unpaired'];
const sorted: readonly DpoLossType[] = ['aot', 'aot_unpaired'];

/**
 * Refuses losses and coefficients that have no meaning together.
 *
 * @throws PAIR_LOSS_OPTIONS
 */
export function checkPairLoss(options: CombinedLossOptions & { useWeighting?: boolean }): void {
  const {
    lossType,
    lossWeights,
    beta,
    labelSmoothing = 0,
    fDivergenceType = 'reverse_kl',
  } = options;
  const refuse = (is: boolean, message: string, remedy: string): void => {
    if (is) throw new AttuneError('PAIR_LOSS_OPTIONS', message, { remedy });
  };
  const uses = (names: readonly DpoLossType[]) => lossType.filter((name) => names.includes(name));
  const list = lossType.join(', ');
  refuse(
    lossType.length === 0,
    'lossType is an empty list.',
    "Name a loss; plain DPO is 'sigmoid'.",
  );
  refuse(
    !(beta > 0) || !Number.isFinite(beta),
    `beta is ${beta}: the losses divide by it or are constant at 0.`,
    'Give a number above 0; 0.1 is usual.',
  );
  refuse(
    !!lossWeights && lossWeights.length !== lossType.length,
    `lossWeights has ${lossWeights?.length} numbers for ${lossType.length} losses (${list}).`,
    'Give one weight for each loss.',
  );
  refuse(
    labelSmoothing > 0 && uses(smoothed).length === 0,
    `labelSmoothing is ${labelSmoothing}, and ${list} does not read it.`,
    `Leave it at 0, or take one of ${smoothed.join(', ')}.`,
  );
  refuse(
    uses(['exo_pair']).length > 0 && labelSmoothing === 0,
    'labelSmoothing is 0: exo_pair compares with the probabilities 1 and 0, and their logarithm.',
    'Give a number above 0; the paper takes 0.001.',
  );
  refuse(
    uses(['robust']).length > 0 && labelSmoothing >= 0.5,
    `labelSmoothing is ${labelSmoothing}: robust divides by 1 - 2 labelSmoothing.`,
    'Give the share of flipped labels, below 0.5; the paper takes 0.1.',
  );
  const plain = lossType.filter((name) => !underDivergences.includes(name));
  refuse(
    fDivergenceType !== 'reverse_kl' && plain.length > 0,
    `fDivergenceType is '${fDivergenceType}', and ${plain.join(', ')} reads single log-ratios, to which no divergence applies.`,
    `Take 'reverse_kl', or losses among ${underDivergences.join(', ')}.`,
  );
  refuse(
    options.useWeighting === true && uses(sorted).length > 0,
    `useWeighting weighs pairs, and ${uses(sorted).join(', ')} sorts the batch: ranks are no pairs.`,
    'Set useWeighting to false, or take another loss.',
  );
}
