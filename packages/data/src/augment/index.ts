export {
  type BackInstructOptions,
  type BackInstructReport,
  backInstruct,
} from './backInstruct.js';
export {
  type BackTranslateOptions,
  type BackTranslateReport,
  backTranslate,
} from './backTranslate.js';
export type { PairLengths } from './choosePair.js';
export type {
  CompletionScorer,
  CompletionsToScore,
  RewardTokenizer,
} from './completionScorer.js';
export { type EvolInstructOptions, type EvolInstructReport, evolInstruct } from './evolInstruct.js';
export type { EvolOperation } from './evolPrompts.js';
export {
  makePreferencePairs,
  type PreferencePairsOptions,
  type PreferencePairsReport,
} from './makePreferencePairs.js';
export { type RougeScore, type RougeTokenizer, rougeL } from './rouge.js';
export { type SelfInstructOptions, type SelfInstructReport, selfInstruct } from './selfInstruct.js';
