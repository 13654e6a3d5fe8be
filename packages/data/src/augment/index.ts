export { type BackTranslateOptions, backTranslate } from './backTranslate.js';
export type {
  CompletionScorer,
  CompletionsToScore,
  RewardTokenizer,
} from './completionScorer.js';
export { type EvolInstructOptions, evolInstruct } from './evolInstruct.js';
export type { EvolOperation } from './evolPrompts.js';
export { makePreferencePairs, type PreferencePairsOptions } from './makePreferencePairs.js';
export { type RougeScore, type RougeTokenizer, rougeL } from './rouge.js';
export { type SelfInstructOptions, selfInstruct } from './selfInstruct.js';
