import type { Registry } from '../di/registry.js';
import type { TrainingArguments } from '../training/arguments/trainingArguments.js';
import { callbackName, type TrainerCallback } from '../training/callback.js';
import { AttuneError } from '../util/errors.js';
import type { Tracker, TrackerFacts } from './points.js';

/** Callbacks and trackers by name. */
export interface NamedCallbacks {
  readonly callbacks: Registry<TrainerCallback>;
  readonly trackers: Registry<Tracker, TrackerFacts>;
}

/**
 * @throws DUPLICATE_NAME where a callback and a tracker have one name: either may stand in either
 *   list
 */
export function checkNames({ callbacks, trackers }: NamedCallbacks): void {
  const both = trackers.names.find((name) => callbacks.has(name));
  if (both !== undefined)
    throw new AttuneError(
      'DUPLICATE_NAME',
      `"${both}" is the name of a callback and of a tracker.`,
      { remedy: 'Leave one of the two plugins out, or rename its contribution.' },
    );
}

/**
 * The callbacks that arguments ask for by name: trackers of `reportTo` and, with
 * `disableTqdm: false`, the progress bar. One that is among the given ones already is not added
 * again.
 *
 * @param isFirst whether this is the first rank, which alone has trackers
 * @throws UNKNOWN_NAME
 */
export function reporters(
  args: TrainingArguments,
  given: readonly TrainerCallback[],
  { callbacks, trackers }: NamedCallbacks,
  isFirst: boolean,
): TrainerCallback[] {
  const asked = [...new Set(args.reportTo)].flatMap((name): TrainerCallback[] => {
    if (name !== 'all' && callbacks.has(name)) return [callbacks.get(name)];
    const meant =
      name === 'all' ? trackers.names.filter((each) => trackers.facts(each).writesFiles) : [name];
    for (const tracker of meant) trackers.facts(tracker); // an unknown name ends every rank
    return isFirst ? meant.map((tracker) => trackers.get(tracker)) : [];
  });
  if (!args.disableTqdm) asked.push(callbacks.get('progress'));
  const taken = new Set(given.map(callbackName));
  return asked.filter((callback) => {
    const name = callbackName(callback);
    return taken.has(name) ? false : taken.add(name);
  });
}
