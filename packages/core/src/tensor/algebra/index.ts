/**
 * What adapters and whole models are combined with, on host arrays: pruning, sign election, low
 * rank. All of it is pure; what is random takes an `Rng`.
 */
export { dropAndRescale, dropAtRandom } from './dare.js';
export { keepProbabilities } from './della.js';
export { type Dense, frobeniusNorm, type OwnDense, product, transposed } from './dense.js';
export { exactTruncatedSvd } from './exactSvd.js';
export { type Extracted, extractFactors, type RankChoice } from './extract.js';
export { keepLargest, pruneByMagnitude, pruneOutliers, rescaleToL1 } from './prune.js';
export { type LowRank, orthonormalColumns, truncatedSvd, truncatedSvdOfProduct } from './svd.js';
export { weightedSum } from './taskVectors.js';
export {
  type DisjointMergeOptions,
  electSigns,
  type MajoritySignMethod,
  mergeAgreeing,
} from './ties.js';
