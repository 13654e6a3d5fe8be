export {
  ANSWER_CHECKS,
  type AnswerCheck,
  type AnswerPreflightOptions,
  type AnswerPreflightSetting,
  answerPreflightSetting,
} from './answerPreflight.js';
export { collatePairs } from './collatePairs.js';
export {
  type CollateUnpairedOptions,
  collateUnpaired,
  mismatchedBatch,
} from './collateUnpaired.js';
export { adviseLabelWeights, type LabelBalance, type LabelWeightAdvice } from './labelWeights.js';
export { type PairExample, type PairRowOptions, pairRows } from './pairRows.js';
export { type PromptExample, type PromptRowOptions, promptRows } from './promptRows.js';
export { type RankingOptions, rankings } from './rankings.js';
export { type UnpairedExample, type UnpairedRowOptions, unpairedRows } from './unpairedRows.js';
export { type UnpairOptions, unpairPreferences } from './unpairPreferences.js';
