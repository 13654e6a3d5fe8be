/** Vectors of n rows, as choosing diverse ones looks at them: each of length 1. */
export interface VectorSet {
  readonly count: number;
  /**
   * Lowers `nearest[i]` to the cosine distance 1 - <v_i, v_center>, for each i where that is less.
   */
  lower(nearest: Float32Array, center: number): void;
  /** The cosine distance of two rows. */
  distance(a: number, b: number): number;
}

/** Rows of a matrix [count, dimension]. */
export class DenseVectors implements VectorSet {
  constructor(
    private readonly data: Float32Array,
    readonly count: number,
    private readonly dimension: number,
  ) {}

  lower(nearest: Float32Array, center: number): void {
    for (let i = 0; i < this.count; i++) {
      const distance = this.distance(i, center);
      if (distance < nearest[i]!) nearest[i] = distance;
    }
  }

  distance(a: number, b: number): number {
    const { data, dimension } = this;
    const end = (a + 1) * dimension;
    let i = a * dimension;
    let j = b * dimension;
    // Four sums, so that no product waits for the one before it.
    let s0 = 0;
    let s1 = 0;
    let s2 = 0;
    let s3 = 0;
    for (; i + 3 < end; i += 4, j += 4) {
      s0 += data[i]! * data[j]!;
      s1 += data[i + 1]! * data[j + 1]!;
      s2 += data[i + 2]! * data[j + 2]!;
      s3 += data[i + 3]! * data[j + 3]!;
    }
    for (; i < end; i++, j++) s0 += data[i]! * data[j]!;
    return 1 - (s0 + s1 + (s2 + s3));
  }
}

/** Rows with few features: those of row i are at starts[i] to starts[i + 1] - 1. */
export class SparseVectors implements VectorSet {
  readonly count: number;
  /** One row, spread over all features; only those of that row are not 0. */
  readonly #spread: Float32Array;
  #spreadRow = -1;

  constructor(
    private readonly starts: Int32Array,
    private readonly features: Int32Array,
    private readonly values: Float32Array,
    numFeatures: number,
  ) {
    this.count = starts.length - 1;
    this.#spread = new Float32Array(numFeatures);
  }

  lower(nearest: Float32Array, center: number): void {
    for (let i = 0; i < this.count; i++) {
      const distance = this.distance(i, center);
      if (distance < nearest[i]!) nearest[i] = distance;
    }
  }

  distance(a: number, b: number): number {
    const { starts, features, values } = this;
    if (this.#spreadRow !== b) this.#spreadOut(b);
    const spread = this.#spread;
    let dot = 0;
    const end = starts[a + 1]!;
    for (let i = starts[a]!; i < end; i++) dot += values[i]! * spread[features[i]!]!;
    return 1 - dot;
  }

  #spreadOut(row: number): void {
    const { starts, features, values } = this;
    const spread = this.#spread;
    const before = this.#spreadRow;
    if (before >= 0)
      for (let i = starts[before]!; i < starts[before + 1]!; i++) spread[features[i]!] = 0;
    for (let i = starts[row]!; i < starts[row + 1]!; i++) spread[features[i]!] = values[i]!;
    this.#spreadRow = row;
  }
}
