export { Dataset, type Row } from './dataset.js';
export * from './datasetReader.js';
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
