import { type ExtensionPoint, extensionPoint } from '../di/extensionPoint.js';
import type { Row } from './dataset.js';

/**
 * A row and where in its file it is: ":12", a line from 1 on, or "[3]", a place in an array from 0
 * on.
 */
export interface PlacedRow {
  readonly row: Row;
  readonly place: string;
}

/**
 * A format of data files as `loadDataset` finds it by name. A plugin adds one with
 * `context.add(DatasetReaders, { name: 'acme', read })`; "json" and "text" come in the same way.
 */
export interface DatasetReader {
  /** What `loadDataset` calls it. */
  readonly name: string;
  /** Ends of the names of its files, e.g. [".jsonl"]: for messages. Default none. */
  readonly extensions?: readonly string[];
  /**
   * The rows of one file, one after another. It is called for each pass, and may be left before its
   * end. Rows of a stream are never all in memory.
   *
   * @throws an error that names the file, and the place where it has one
   */
  read(file: string): AsyncIterable<PlacedRow>;
}

/**
 * Formats that `loadDataset(name, { attune, ... })` reads:
 * `context.add(DatasetReaders, { name, read })`.
 */
export const DatasetReaders: ExtensionPoint<DatasetReader> = extensionPoint(
  'dataset reader',
  (reader) => reader.name,
);
