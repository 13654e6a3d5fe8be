/** How many answers are to be learned and unlearned, and how much each counts. */
export interface LabelBalance {
  readonly desirable: number;
  readonly undesirable: number;
  readonly desirableWeight: number;
  readonly undesirableWeight: number;
}

type Range = readonly [least: number, most: number];

/** Weights that balance the two classes: one of them is to be taken, not both. */
export interface LabelWeightAdvice {
  readonly desirableWeight: Range;
  readonly undesirableWeight: Range;
}

/**
 * What KTO's weights should be where classes are of different sizes: such that
 * n_D · λ_D / (n_U · λ_U) lies in [1, 4/3], as TRL's KTOTrainer recommends it, with its rounding.
 *
 * @returns null where the classes are of one size, or one of the weights is in its range
 * @see Eq. (8) of https://arxiv.org/abs/2402.01306
 */
export function adviseLabelWeights({
  desirable,
  undesirable,
  desirableWeight,
  undesirableWeight,
}: LabelBalance): LabelWeightAdvice | null {
  const wanted = Math.max(desirable, 1);
  const unwanted = Math.max(undesirable, 1);
  if (wanted === unwanted) return null;
  const ofWanted = (unwanted * undesirableWeight) / wanted;
  const ofUnwanted = (wanted * desirableWeight) / unwanted;
  const advice: LabelWeightAdvice = {
    desirableWeight: [rounded(ofWanted), rounded(ofWanted * 1.33)],
    undesirableWeight: [rounded(ofUnwanted / 1.33), rounded(ofUnwanted)],
  };
  const isIn = (weight: number, [least, most]: Range) => least <= weight && weight <= most;
  return isIn(desirableWeight, advice.desirableWeight) ||
    isIn(undesirableWeight, advice.undesirableWeight)
    ? null
    : advice;
}

const rounded = (value: number): number => Number(value.toFixed(2));
