export {
  type AdviseAlignmentOptions,
  type AlignmentAdvice,
  type AlignmentAlternative,
  type AlignmentMethod,
  adviseAlignment,
} from './advise.js';
export * from './contract/alignmentObjective.js';
export * from './losses/index.js';
export * from './objectives/index.js';
export { align } from './plugin.js';
export { type StoredReference, storedReferences } from './reference/logProbStore.js';
export type { ReferenceChoice } from './reference/reference.js';
export type { TeacherChoice } from './reference/teacher.js';
export * from './rollout/index.js';
export * from './rows/index.js';
export * from './trainers/index.js';
export * from './watch/index.js';
