import { shuffledIndices } from './dataset.js';

export interface LoaderOptions {
  /** Rows of a micro-batch. */
  readonly batchSize: number;
  /** A fresh permutation each epoch; else the order of the rows. */
  readonly shuffle: boolean;
  readonly seed: number;
  /** Leaves out a last batch that is not full. */
  readonly dropLast: boolean;
}

/**
 * Examples -> micro-batches -> groups of them. The order is a pure function of the seed and the
 * epoch: to resume is to count, nothing has to be saved.
 */
export class Loader<Example> {
  /** Micro-batches of one epoch. */
  readonly batchesPerEpoch: number;

  constructor(
    readonly examples: readonly Example[],
    private readonly options: LoaderOptions,
  ) {
    const batches = examples.length / options.batchSize;
    this.batchesPerEpoch = options.dropLast ? Math.floor(batches) : Math.ceil(batches);
  }

  /**
   * Groups of at most `groupSize` micro-batches; the last of an epoch may have fewer.
   *
   * @param skipBatches micro-batches of this epoch that an interrupted run has done
   */
  *groups(epoch: number, groupSize: number, skipBatches = 0): Generator<Example[][]> {
    for (let at = skipBatches; at < this.batchesPerEpoch; at += groupSize) {
      const end = Math.min(at + groupSize, this.batchesPerEpoch);
      yield Array.from({ length: end - at }, (_, i) => this.#batch(epoch, at + i));
    }
  }

  /** Every micro-batch of an epoch. */
  *batches(epoch = 0): Generator<Example[]> {
    for (let i = 0; i < this.batchesPerEpoch; i++) yield this.#batch(epoch, i);
  }

  #order: { readonly epoch: number; readonly indices: Uint32Array } | undefined;

  #batch(epoch: number, index: number): Example[] {
    const { batchSize, shuffle, seed } = this.options;
    if (shuffle && this.#order?.epoch !== epoch)
      this.#order = { epoch, indices: shuffledIndices(this.examples.length, seed, epoch) };
    const start = index * batchSize;
    const end = Math.min(start + batchSize, this.examples.length);
    return Array.from({ length: end - start }, (_, i) => {
      const at = start + i;
      return this.examples[shuffle ? this.#order!.indices[at]! : at]!;
    });
  }
}
