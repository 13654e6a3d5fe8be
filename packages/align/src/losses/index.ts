export * from './bradleyTerry.js';
export { divergenceTypes, pairScores } from './divergences.js';
export { type GaeAdvantages, type GaeOptions, gae } from './gae.js';
export {
  type GeneralizedJsdOptions,
  generalizedJsd,
  type HeadRows,
  headJsd,
  type RowDivergences,
} from './generalizedJsd.js';
export * from './kto.js';
export * from './lengthWeights.js';
export { maskedMean, maskedVar, maskedWhiten } from './masked.js';
export * from './oddsRatio.js';
export {
  type DivergenceType,
  logRatios,
  type PairLogProbs,
  type PairLoss,
  type PairLossOptions,
  type PairValues,
  pooledMean,
} from './pairLogProbs.js';
export * from './pairLosses.js';
export * from './pairWeights.js';
export {
  type PolicyGradient,
  type PolicyLossType,
  type PolicyOptions,
  type PolicyTokens,
  policyGradient,
} from './policyGradient.js';
export {
  type PolicyLoss,
  type PolicyTerms,
  ppoPolicyLoss,
  ppoValueLoss,
  type ValueLoss,
  type ValueTerms,
} from './ppo.js';
export * from './referenceFree.js';
