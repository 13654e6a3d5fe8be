import { CollapseCallback } from './collapse.js';
import { CompletionsCallback } from './completions.js';
import { CutCompletionsCallback } from './cutCompletions.js';
import { ExplanationsCallback } from './explanations.js';
import { NoSpreadCallback } from './noSpread.js';
import { RewardHackingCallback } from './rewardHacking.js';
import { SaturationCallback } from './saturation.js';

/** Callbacks that watch a run, by the names under which `align()` adds them to `Callbacks`. */
export const watchers = {
  collapse: CollapseCallback,
  completions: CompletionsCallback,
  'cut-completions': CutCompletionsCallback,
  explanations: ExplanationsCallback,
  'no-spread': NoSpreadCallback,
  'reward-hacking': RewardHackingCallback,
  saturation: SaturationCallback,
} as const;
