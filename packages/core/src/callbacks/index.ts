export * from './earlyStopping.js';
export type { CallbackKey } from './handler.js';
export * from './points.js';
export * from './progress.js';
