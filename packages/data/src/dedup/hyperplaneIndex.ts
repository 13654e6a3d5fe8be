import { Rng } from '@attune/core/util';
import { BandTable } from './bandTable.js';
import { IntList } from './growing.js';
import { type Banding, bandingFor } from './minHash.js';
import { mix } from './shingleSet.js';
import type { Nearest, VectorBlocks } from './vectorBlocks.js';

/** Hyperplanes of a signature. */
const PLANES = 512;
/** Vectors of one bucket that a vector is compared with. */
const MOST_IN_BUCKET = 1000;

/**
 * Finds vectors by the sides of random hyperplanes that they lie on (Charikar 2002): two at an
 * angle a are on the same side of one with probability 1 - a / pi. Sides are cut into bands as
 * MinHash signatures are; candidates are compared in full. At least 99.5 % of the pairs right at
 * the threshold are found.
 */
export class HyperplaneIndex {
  readonly banding: Banding;
  /** Searches that met more vectors in a bucket than are compared. */
  crowded = 0;
  readonly #planes: Float32Array;
  readonly #keys: Int32Array;
  readonly #table = new BandTable();
  readonly #met = new IntList();
  #searches = 0;

  constructor(
    private readonly vectors: VectorBlocks,
    threshold: number,
    seed: number,
  ) {
    this.banding = bandingFor(1 - Math.acos(Math.min(1, threshold)) / Math.PI, PLANES);
    const { bands, rows } = this.banding;
    const rng = new Rng(seed, STREAM);
    this.#planes = Float32Array.from({ length: bands * rows * vectors.dimension }, () =>
      rng.normal(),
    );
    this.#keys = new Int32Array(bands);
  }

  /** Adds the next vector of the blocks. */
  add(vector: Float32Array, at: number): void {
    this.#hash(vector, at);
    this.#met.push(0);
    for (const key of this.#keys) this.#table.add(key);
  }

  /** @param at where the vector begins */
  search(vector: Float32Array, at: number, query: number, nearest: Nearest): void {
    this.#hash(vector, at);
    const search = ++this.#searches;
    const { bands } = this.banding;
    let isCrowded = false;
    for (const key of this.#keys) {
      let met = 0;
      for (let next = this.#table.first(key); next !== 0; ) {
        if (++met > MOST_IN_BUCKET) {
          isCrowded = true;
          break;
        }
        const place = Math.floor((next - 1) / bands);
        if (this.#met.values[place] !== search) {
          this.#met.values[place] = search;
          nearest.offer(query, place, this.vectors.cosine(place, vector, at));
        }
        next = this.#table.before(next - 1, key);
      }
    }
    if (isCrowded) this.crowded++;
  }

  #hash(vector: Float32Array, at: number): void {
    const { dimension } = this.vectors;
    const { bands, rows } = this.banding;
    const planes = this.#planes;
    for (let band = 0, plane = 0; band < bands; band++) {
      let key = band;
      for (let row = 0; row < rows; row++) {
        let sum = 0;
        for (let d = 0; d < dimension; d++) sum += planes[plane++]! * vector[at + d]!;
        key = Math.imul(key, 0x9e3779b1) ^ (sum > 0 ? row + 1 : ~row);
      }
      this.#keys[band] = mix(key);
    }
  }
}

const STREAM = 0x6870;
