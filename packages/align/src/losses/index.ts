export * from './bradleyTerry.js';
export { divergenceTypes, pairScores } from './divergences.js';
export * from './kto.js';
export * from './lengthWeights.js';
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
export * from './referenceFree.js';
