export * from './conformance.js';
export * from './datasetReaderKit.js';
export * from './gradients.js';
export * from './kit.js';
export * from './opCase.js';
export { opCases } from './opCases.js';
export * from './scheduleKit.js';
export * from './trackerKit.js';
