export * from './adapters/index.js';
export { type MergeTensorsOptions, mergeTensors } from './arithmetic/mergeTensors.js';
export * from './config/index.js';
export * from './contract/mergeMethod.js';
export { merge } from './plugin.js';
