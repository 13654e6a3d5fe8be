export * from './collator.js';
export { Dataset, type Row } from './dataset.js';
export * from './formats.js';
export * from './loadDataset.js';
export { Loader, type LoaderOptions } from './loader.js';
export * from './pack.js';
export * from './tokenizeSft.js';
