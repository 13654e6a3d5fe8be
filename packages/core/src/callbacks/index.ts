export * from './callback.js';
export * from './earlyStopping.js';
export type { EventName, Moment, TrainerEvents } from './events.js';
export type { CallbackKey } from './handler.js';
export * from './points.js';
export * from './progress.js';
export * from './trackers/index.js';
