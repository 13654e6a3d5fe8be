export {
  type Advantages,
  grpoAdvantages,
  type MultiObjectiveAggregation,
  type RewardMatrix,
  rlooAdvantages,
  type ScaleRewards,
} from './advantages.js';
export type { CompletionRecord, CompletionsTable } from './completions.js';
export { type KlController, type KlTarget, klController } from './klController.js';
export {
  type AnswerRewardOptions,
  type AnswerRewards,
  type AnswerTerms,
  type KlEstimator,
  penalised,
  ppoRewards,
  tokenKl,
  truncateAnswer,
} from './ppoRewards.js';
export type {
  Completion,
  Prompt,
  PromptOfRow,
  RewardFunction,
  RewardInput,
  RewardSource,
  RewardValues,
} from './rewards.js';
export type { RolloutFunction, RolloutInput, RolloutOutput } from './rollout.js';
