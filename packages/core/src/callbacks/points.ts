import { type ExtensionPoint, extensionPoint } from '../di/extensionPoint.js';
import { callbackName, type TrainerCallback } from '../training/callback.js';

/**
 * Callbacks that a Trainer takes by name: `callbacks: ['stop-below']`. A class is made anew for each
 * Trainer, its constructor injected: `ctx.add(Callbacks, { name: 'stop-below', useClass: StopBelow })`.
 */
export const Callbacks: ExtensionPoint<TrainerCallback> = extensionPoint('callback', callbackName);
