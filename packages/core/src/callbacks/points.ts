import { type ExtensionPoint, extensionPoint } from '../di/extensionPoint.js';
import { callbackName, type TrainerCallback } from '../training/callback.js';

/**
 * Callbacks that a Trainer takes by name: `callbacks: ['stop-below']`. A plugin adds one with
 * `ctx.add(Callbacks, { name: 'stop-below', useClass: StopBelow })`. A class is made anew for each
 * Trainer, and its constructor is injected.
 */
export const Callbacks: ExtensionPoint<TrainerCallback> = extensionPoint('callback', callbackName);

/** A callback that tells a file or a server about the run. `reportTo` finds it by name. */
export interface Tracker extends TrainerCallback {
  readonly firstRankOnly: true;
}

/** What is known of a tracker before it is made. */
export interface TrackerFacts {
  /** Whether it writes files and needs nothing else. Then `reportTo: "all"` includes it. */
  readonly writesFiles: boolean;
}

/**
 * What `reportTo` may name. A plugin adds one with
 * `ctx.add(Trackers, { name: 'acme', writesFiles: true, useClass: AcmeTracker })`. A class is made
 * anew for each Trainer that asks for it, and for no other. The built-in ones come in the same way.
 */
export const Trackers: ExtensionPoint<Tracker, TrackerFacts> = extensionPoint(
  'tracker',
  (tracker) => callbackName(tracker),
);
