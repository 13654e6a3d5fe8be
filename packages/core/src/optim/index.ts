export * from './adamw.js';
export type { NamedParameter } from './arena.js';
export * from './optimizer.js';
export * from './parameterGroups.js';
export * from './schedulers.js';
