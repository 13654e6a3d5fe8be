export type { FloatSource } from './blocks.js';
export { type BlockwiseCodes, dequantizeBlockwise, quantizeBlockwise } from './blockwise.js';
export * from './codeMaps.js';
export * from './doubleQuant.js';
export * from './int8.js';
