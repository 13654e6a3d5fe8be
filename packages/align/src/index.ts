export * from './contract/alignmentObjective.js';
export * from './losses/index.js';
export * from './objectives/index.js';
export { align } from './plugin.js';
export { type StoredReference, storedReferences } from './reference/logProbStore.js';
export type { ReferenceChoice } from './reference/reference.js';
export * from './rollout/index.js';
export * from './rows/index.js';
export * from './trainers/index.js';
