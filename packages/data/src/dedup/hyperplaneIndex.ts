import { Rng } from '@attune/core/util';
import { BandTable } from './bandTable.js';
import { IntList } from './growing.js';
import { type Banding, bandingFor } from './minHash.js';
import { mix } from './shingleSet.js';
import type { Nearest, VectorBlocks } from './vectorBlocks.js';

/** Hyperplanes of a signature: more where few of them keep unlike vectors apart. */
const PLANES = [512, 1024, 2048];
/** A bucket of unlike vectors has one of 2^this. */
const SIDES_APART = 10;
/** Vectors of which a mean is taken, at least. */
const FEWEST = 64;
/** Share of the vectors that may be nearer to the mean than is reckoned with. */
const NEARER = 0.05;
/** Vectors of one bucket that a vector is compared with. */
const MOST_IN_BUCKET = 1000;

/**
 * Finds vectors by the sides of random hyperplanes that they lie on (Charikar 2002): two at an
 * angle a are on the same side of one with probability 1 - a / pi. Sides are cut into bands as
 * MinHash signatures are; candidates are compared in full. At least 99.5 % of the pairs right at
 * the threshold are found.
 *
 * Hyperplanes go through the mean m of the vectors that are there when the index is made. Vectors
 * that all point one way, as those of language models do, would else lie on the same sides. Two
 * unit vectors with the cosine t are sqrt(2 (1 - t)) apart; seen from m, where both are r away,
 * their cosine is 1 - (1 - t) / r^2.
 */
export class HyperplaneIndex {
  readonly banding: Banding;
  /** Searches that met more vectors in a bucket than are compared. */
  crowded = 0;
  readonly #planes: Float32Array;
  /** Products of the planes with the mean. */
  readonly #offsets: Float32Array;
  readonly #keys: Int32Array;
  readonly #table = new BandTable();
  readonly #met = new IntList();
  #searches = 0;

  constructor(
    private readonly vectors: VectorBlocks,
    threshold: number,
    seed: number,
  ) {
    const { mean, square } = centerOf(vectors);
    this.banding = chosenBanding(Math.max(-1, 1 - (1 - threshold) / square));
    const { bands, rows } = this.banding;
    const rng = new Rng(seed, STREAM);
    this.#planes = Float32Array.from({ length: bands * rows * vectors.dimension }, () =>
      rng.normal(),
    );
    this.#offsets = Float32Array.from({ length: bands * rows }, (_, plane) => {
      const start = plane * vectors.dimension;
      return mean.reduce((sum, x, d) => sum + x * this.#planes[start + d]!, 0);
    });
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
      let key = mix(band);
      let sides = 0;
      for (let row = 0; row < rows; row++) {
        let sum = -this.#offsets[band * rows + row]!;
        for (let d = 0; d < dimension; d++) sum += planes[plane++]! * vector[at + d]!;
        sides = (sides << 1) | (sum > 0 ? 1 : 0);
        if (row % 32 === 31) key = mix(key ^ sides);
      }
      this.#keys[band] = mix(key ^ sides);
    }
  }
}

/** The banding for pairs of a cosine, with as few hyperplanes as keep unlike vectors apart. */
function chosenBanding(cosine: number): Banding {
  const similarity = 1 - Math.acos(cosine) / Math.PI;
  const bandings = PLANES.map((planes) => bandingFor(similarity, planes));
  return bandings.find(({ rows }) => rows >= SIDES_APART) ?? bandings.at(-1)!;
}

/** The mean of vectors, and how far most of them are from it at least, squared. */
function centerOf(vectors: VectorBlocks): { mean: Float64Array; square: number } {
  const { count, dimension } = vectors;
  const mean = new Float64Array(dimension);
  if (count < FEWEST) return { mean, square: 1 };
  for (let place = 0; place < count; place++) {
    const vector = vectors.at(place);
    for (let d = 0; d < dimension; d++) mean[d]! += vector[d]! / count;
  }
  const squares = new Float64Array(count);
  for (let place = 0; place < count; place++) {
    const vector = vectors.at(place);
    for (let d = 0; d < dimension; d++) squares[place]! += (vector[d]! - mean[d]!) ** 2;
  }
  return { mean, square: squares.sort()[Math.floor(NEARER * count)]! };
}

const STREAM = 0x6870;
