export {
  type ExtractAdapterOptions,
  type ExtractProgress,
  extractAdapter,
} from './extractAdapter.js';
export type { ExtractedAdapter, ExtractedLayer, LeftOut } from './extractedAdapter.js';
