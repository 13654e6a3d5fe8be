export { type GaeAdvantages, type GaeOptions, gae } from './losses/gae.js';
export * from './losses/index.js';
export { maskedMean, maskedVar, maskedWhiten } from './losses/masked.js';
export {
  type PolicyGradient,
  type PolicyLossType,
  type PolicyOptions,
  type PolicyTokens,
  policyGradient,
} from './losses/policyGradient.js';
export {
  type PolicyLoss,
  type PolicyTerms,
  ppoPolicyLoss,
  ppoValueLoss,
  type ValueLoss,
  type ValueTerms,
} from './losses/ppo.js';
export {
  type Advantages,
  grpoAdvantages,
  type MultiObjectiveAggregation,
  type RewardMatrix,
  rlooAdvantages,
  type ScaleRewards,
} from './rollout/advantages.js';
export { type KlController, type KlTarget, klController } from './rollout/klController.js';
export {
  type AnswerRewardOptions,
  type AnswerRewards,
  type AnswerTerms,
  type KlEstimator,
  penalised,
  ppoRewards,
  tokenKl,
  truncateAnswer,
} from './rollout/ppoRewards.js';
export type {
  RewardFunction,
  RewardInput,
  RewardSource,
  RewardValues,
} from './rollout/rewards.js';
export * from './rows/index.js';
