export * from './conformance.js';
export * from './gradients.js';
export * from './opCase.js';
export { opCases } from './opCases.js';
