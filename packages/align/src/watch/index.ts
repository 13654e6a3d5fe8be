export { Alarm, type Finding, type LogRow } from './alarm.js';
export { CollapseCallback, type CollapseOptions } from './collapse.js';
export { CompletionsCallback, type CompletionsOptions } from './completions.js';
export { CutCompletionsCallback, type CutCompletionsOptions } from './cutCompletions.js';
export { ExplanationsCallback } from './explanations.js';
export { NoSpreadCallback, type NoSpreadOptions } from './noSpread.js';
export { RewardHackingCallback, type RewardHackingOptions } from './rewardHacking.js';
export { SaturationCallback, type SaturationOptions } from './saturation.js';
export { watchers } from './watchers.js';
