import type { FloatSource as Source } from './blocks.js';

/** Numbers that are read in parts. */
// A type of its own: a bundled namespace takes one of another file for a value.
export type FloatSource = Source;

export { type BlockwiseCodes, dequantizeBlockwise, quantizeBlockwise } from './blockwise.js';
export * from './codeMaps.js';
export * from './doubleQuant.js';
export * from './int8.js';
