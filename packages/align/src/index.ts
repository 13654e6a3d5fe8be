export * from './losses/index.js';
export {
  type PolicyGradient,
  type PolicyLossType,
  type PolicyOptions,
  type PolicyTokens,
  policyGradient,
} from './losses/policyGradient.js';
export {
  type Advantages,
  grpoAdvantages,
  type MultiObjectiveAggregation,
  type RewardMatrix,
  rlooAdvantages,
  type ScaleRewards,
} from './rollout/advantages.js';
export type {
  RewardFunction,
  RewardInput,
  RewardSource,
  RewardValues,
} from './rollout/rewards.js';
