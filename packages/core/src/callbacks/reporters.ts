import type { TrainingArguments } from '../training/arguments/trainingArguments.js';
import { callbackName, type TrainerCallback } from '../training/callback.js';

/** Names of the trackers that write files: what `reportTo: "all"` means. */
const FILE_TRACKERS = ['tensorboard', 'wandb', 'jsonl', 'html'];

/**
 * The callbacks that arguments ask for by name: trackers of `reportTo` and, with `disableTqdm: false`,
 * the progress bar. One that is among the given ones already is not added again.
 *
 * @param make name -> a new callback. Throws UNKNOWN_NAME
 */
export function reporters(
  args: TrainingArguments,
  given: readonly TrainerCallback[],
  make: (name: string) => TrainerCallback,
): TrainerCallback[] {
  const names = args.reportTo.flatMap((name) => (name === 'all' ? FILE_TRACKERS : [name]));
  if (!args.disableTqdm) names.push('progress');
  const taken = new Set(given.map(callbackName));
  return [...new Set(names)].map(make).filter((callback) => !taken.has(callbackName(callback)));
}
