import { type ExtensionPoint, extensionPoint } from '../di/extensionPoint.js';
import { callbackName, type TrainerCallback } from '../training/callback.js';

/**
 * Callbacks that a Trainer takes by name: `callbacks: ['stop-below']`. A class is made anew for
 * each Trainer, its constructor injected:
 * `ctx.add(Callbacks, { name: 'stop-below', useClass: StopBelow })`.
 */
export const Callbacks: ExtensionPoint<TrainerCallback> = extensionPoint('callback', callbackName);

/** A callback that tells others about the run: a file, a server. `reportTo` finds it by name. */
export interface Tracker extends TrainerCallback {
  readonly firstRankOnly: true;
}

/** What is known of a tracker before it is made. */
export interface TrackerFacts {
  /** It writes files and needs nothing else: then `reportTo: "all"` means it, too. */
  readonly writesFiles: boolean;
}

/**
 * What `reportTo` may name:
 * `ctx.add(Trackers, { name: 'acme', writesFiles: true, useClass: AcmeTracker })`. A class is made
 * anew for each Trainer that asks for it, and for no other. The built-in ones come in the same way.
 */
export const Trackers: ExtensionPoint<Tracker, TrackerFacts> = extensionPoint(
  'tracker',
  (tracker) => callbackName(tracker),
);
