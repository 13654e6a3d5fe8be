import type { Engine, Tensor } from '@attune/core/tensor';
import { BLOCK } from './vectorBlocks.js';

/**
 * Says of queries, block by block, how similar the most similar vector is: a product and a maximum
 * on the device. Which one it is the processor finds out, where it matters.
 */
export class DeviceScreen implements Disposable {
  readonly #blocks: Tensor[] = [];

  constructor(
    private readonly engine: Engine,
    private readonly dimension: number,
  ) {}

  get blocks(): number {
    return this.#blocks.length;
  }

  /** @param block BLOCK vectors, [B, D] */
  add(block: Float32Array): void {
    this.#blocks.push(this.engine.fromBytes(block, [BLOCK, this.dimension], 'float32', true));
  }

  /** @returns for each block the largest cosine of each query, [Q] */
  async maxima(queries: Float32Array): Promise<Float32Array[]> {
    const { engine, dimension } = this;
    const count = queries.length / dimension;
    const found = engine.scope('dedupe', () => {
      const batch = engine.fromBytes(queries, [count, dimension], 'float32');
      return this.#blocks.map((block) => batch.matmul(block, { transposeB: true }).max(1));
    });
    const maxima = await Promise.all(found.map((tensor) => tensor.data()));
    for (const tensor of found) tensor.dispose();
    return maxima as Float32Array[];
  }

  [Symbol.dispose](): void {
    for (const block of this.#blocks) block.dispose();
  }
}
