export { type AdapterChoice, type AdapterKind, chooseAdapter } from './adapter.js';
export { createDawnBackend, type DawnOptions, dawn } from './dawn.js';
export { DawnBackend } from './dawnBackend.js';
export * from './kernels/kernel.js';
export type { Access } from './kernels/shader.js';
export { type Bound, named, readAs, type StageParts, stage } from './kernels/stage.js';
export type { Subgroups } from './subgroups.js';
