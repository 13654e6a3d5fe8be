/** Vectors of a block. */
export const BLOCK = 2048;

/** Vectors of one length, in blocks that never move. */
export class VectorBlocks {
  readonly blocks: Float32Array[] = [];
  count = 0;

  constructor(readonly dimension: number) {}

  add(vector: Float32Array): void {
    if (this.count % BLOCK === 0) this.blocks.push(new Float32Array(BLOCK * this.dimension));
    this.blocks.at(-1)!.set(vector, (this.count % BLOCK) * this.dimension);
    this.count++;
  }

  /** Vectors of a block: the last one may not be full. */
  lengthOf(block: number): number {
    return Math.min(BLOCK, this.count - block * BLOCK);
  }

  at(index: number): Float32Array {
    const start = (index % BLOCK) * this.dimension;
    return this.blocks[Math.floor(index / BLOCK)]!.subarray(start, start + this.dimension);
  }

  cosine(index: number, vector: Float32Array, at: number): number {
    const { dimension } = this;
    const block = this.blocks[Math.floor(index / BLOCK)]!;
    const start = (index % BLOCK) * dimension;
    let sum = 0;
    for (let d = 0; d < dimension; d++) sum += block[start + d]! * vector[at + d]!;
    return sum;
  }
}

/** For each vector of a batch the most similar one so far. */
export class Nearest {
  /** -1: none. */
  readonly at: Int32Array;
  readonly cosine: Float64Array;

  constructor(length: number) {
    this.at = new Int32Array(length).fill(-1);
    this.cosine = new Float64Array(length).fill(Number.NEGATIVE_INFINITY);
  }

  /** Among several that are equally similar the first one counts. */
  offer(query: number, at: number, cosine: number): void {
    if (cosine < this.cosine[query]!) return;
    if (cosine === this.cosine[query] && this.at[query]! <= at) return;
    this.cosine[query] = cosine;
    this.at[query] = at;
  }
}

/** Compares one query with the vectors from `start` on, before `end`. */
export function searchRange(
  vectors: VectorBlocks,
  [start, end]: readonly [number, number],
  queries: Float32Array,
  query: number,
  nearest: Nearest,
): void {
  const at = query * vectors.dimension;
  for (let place = start; place < end; place++)
    nearest.offer(query, place, vectors.cosine(place, queries, at));
}

/**
 * Compares queries with all vectors of a block: [Q, D] x [B, D]^T. Four queries at a time, so that
 * a number of the block is loaded once for four products.
 */
export function searchBlock(
  vectors: VectorBlocks,
  block: number,
  queries: Float32Array,
  nearest: Nearest,
): void {
  const { dimension } = vectors;
  const data = vectors.blocks[block]!;
  const length = vectors.lengthOf(block);
  const most = queries.length / dimension - 1;
  for (let q0 = 0; q0 <= most; q0 += 4) {
    // Beyond the last one: that one again.
    const q1 = Math.min(q0 + 1, most);
    const q2 = Math.min(q0 + 2, most);
    const q3 = Math.min(q0 + 3, most);
    const a0 = queries.subarray(q0 * dimension, (q0 + 1) * dimension);
    const a1 = queries.subarray(q1 * dimension, (q1 + 1) * dimension);
    const a2 = queries.subarray(q2 * dimension, (q2 + 1) * dimension);
    const a3 = queries.subarray(q3 * dimension, (q3 + 1) * dimension);
    for (let row = 0, at = 0; row < length; row++) {
      let s0 = 0;
      let s1 = 0;
      let s2 = 0;
      let s3 = 0;
      for (let d = 0; d < dimension; d++, at++) {
        const x = data[at]!;
        s0 += x * a0[d]!;
        s1 += x * a1[d]!;
        s2 += x * a2[d]!;
        s3 += x * a3[d]!;
      }
      const place = block * BLOCK + row;
      nearest.offer(q0, place, s0);
      nearest.offer(q1, place, s1);
      nearest.offer(q2, place, s2);
      nearest.offer(q3, place, s3);
    }
  }
}
