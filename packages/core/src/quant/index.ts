export * from './blockwise.js';
export * from './codeMaps.js';
export * from './doubleQuant.js';
