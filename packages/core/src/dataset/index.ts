export * from './collator.js';
export { Dataset, type Row } from './dataset.js';
export * from './formats.js';
export * from './iterableDataset.js';
export { lengthGroupedOrder } from './lengthGrouped.js';
export * from './loadDataset.js';
export {
  type ExampleStream,
  type Examples,
  firstExamples,
  Loader,
  type LoaderOptions,
  sampleExamples,
} from './loader.js';
export * from './pack.js';
export * from './tokenizeSft.js';
