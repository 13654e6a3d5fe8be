import { type Engine, ops, type Tensor } from '@attune/core/tensor';
import { BLOCK, type VectorBlocks } from './vectorBlocks.js';

/** Vectors that one number of the device is about. */
export const GROUP = 64;

/** Products on a device, rounded there. */
export interface Screened {
  /** The largest cosine of each query with the vectors of each group, [queries, groups]. */
  readonly groups: Float32Array;
  /** Groups: those of the last block may be empty. */
  readonly count: number;
  /** The cosine of each query with each, [queries, queries]. */
  readonly own: Float32Array;
}

/**
 * Compares queries with all vectors on the device, [Q, D] x [B, D]^T block by block, and reads one
 * maximum of each group back: a product of 64 numbers becomes one. Which vector it is the processor
 * finds out, where it matters.
 */
export class DeviceScreen implements Disposable {
  /** Blocks that are full: they do not change. */
  readonly #blocks: Tensor[] = [];

  constructor(
    private readonly engine: Engine,
    private readonly vectors: VectorBlocks,
  ) {}

  /** @param queries vectors, one after the other, [Q, D] */
  async screen(queries: Float32Array): Promise<Screened> {
    const { engine } = this;
    const { dimension } = this.vectors;
    const count = queries.length / dimension;
    this.#uploadFull();
    const [groups, own] = engine.scope('dedupe', () => {
      const batch = engine.fromBytes(queries, [count, dimension], 'float32');
      const product = (block: Tensor) => batch.matmul(block, { transposeB: true });
      // Each in a scope of its own: products take the memory of those before them.
      const maxima = [...this.#blocks, ...this.#last()].map((block) =>
        engine.scope('block', () =>
          product(block)
            .reshape(count, BLOCK / GROUP, GROUP)
            .max(2),
        ),
      );
      return [maxima.length === 0 ? null : ops.concat(maxima, 1), product(batch)] as const;
    });
    try {
      const [found, among] = await Promise.all([groups?.data(), own.data()]);
      return {
        groups: (found ?? new Float32Array(0)) as Float32Array,
        count: groups?.shape[1] ?? 0,
        own: among as Float32Array,
      };
    } finally {
      groups?.dispose();
      own.dispose();
    }
  }

  #uploadFull(): void {
    const { blocks, count, dimension } = this.vectors;
    const full = Math.floor(count / BLOCK);
    for (let i = this.#blocks.length; i < full; i++)
      this.#blocks.push(this.engine.fromBytes(blocks[i]!, [BLOCK, dimension], 'float32', true));
  }

  /** The block that is being filled, with zeros behind its vectors. */
  #last(): Tensor[] {
    const { blocks, dimension } = this.vectors;
    const last = blocks[this.#blocks.length];
    return last ? [this.engine.fromBytes(last, [BLOCK, dimension], 'float32')] : [];
  }

  [Symbol.dispose](): void {
    for (const block of this.#blocks) block.dispose();
  }
}
