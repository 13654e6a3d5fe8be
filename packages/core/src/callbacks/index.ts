export * from './callback.js';
export * from './earlyStopping.js';
export type { TrainerEvents } from './events.js';
export * from './points.js';
export * from './progress.js';
