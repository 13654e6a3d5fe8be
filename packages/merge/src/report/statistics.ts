import type { MergeChunk, MergeGroup } from '../contract/mergeMethod.js';

/** What a merge did to one tensor. Plain data: a worker thread gives it back. */
export interface TensorStatistics {
  readonly name: string;
  /** Elements. */
  readonly length: number;
  /** Indices of the models: the inputs but the base, in their order. */
  readonly models: readonly number[];
  /** |x_base|, the Euclidean norm; null: there is no base. */
  readonly baseNorm: number | null;
  /** |d_k| of each model: d_k = x_k - x_base, or x_k without a base. */
  readonly norms: readonly number[];
  /** d_j . d_k / (|d_j| |d_k|) for j < k, row by row: [0,1], [0,2], [1,2]; 0 beside a zero. */
  readonly cosines: readonly number[];
  /**
   * Share of the elements in which two models or more differ from the base and do not agree on the
   * sign of the difference, 0 to 1. null: no base, or a single model.
   */
  readonly signConflicts: number | null;
  /** Share of the elements of each model that the method kept, 0 to 1; null: it trims nothing. */
  readonly kept: readonly number[] | null;
  /** |y - x_base|, y being the result; without a base |y|. */
  readonly change: number;
}

/** Adds up what a merge does to one tensor, chunk by chunk. Sums are float64. */
export class StatisticsOf {
  readonly #products: Float64Array;
  readonly #numModels: number;
  #baseSquares = 0;
  #changeSquares = 0;
  #conflicts = 0;
  #kept: readonly number[] | null = null;

  constructor(private readonly group: MergeGroup) {
    this.#numModels = group.numModels;
    this.#products = new Float64Array(group.numModels ** 2);
  }

  /** What a method says of itself: `MergeArithmetic.kept`. */
  kept(shares: readonly number[]): void {
    this.#kept = shares;
  }

  add({ base, models, length }: MergeChunk, out: Float32Array): void {
    for (let j = 0; j < models.length; j++)
      for (let k = j; k < models.length; k++)
        this.#products[j * this.#numModels + k]! += dot(models[j]!, models[k]!, base, length);
    this.#baseSquares += base ? squares(base, null, length) : 0;
    this.#changeSquares += squares(out, base, length);
    if (base && models.length > 1) this.#conflicts += conflicts(models, base, length);
  }

  finish(): TensorStatistics {
    const { name, length, numInputs, baseIndex } = this.group;
    const n = this.#numModels;
    const norms = Array.from({ length: n }, (_, k) => Math.sqrt(this.#products[k * n + k]!));
    const cosines: number[] = [];
    for (let j = 0; j < n; j++)
      for (let k = j + 1; k < n; k++)
        cosines.push(this.#products[j * n + k]! / (norms[j]! * norms[k]! || 1));
    return {
      name,
      length,
      models: Array.from({ length: numInputs }, (_, k) => k).filter((k) => k !== baseIndex),
      baseNorm: baseIndex === null ? null : Math.sqrt(this.#baseSquares),
      norms,
      cosines,
      signConflicts: baseIndex === null || n < 2 ? null : this.#conflicts / Math.max(1, length),
      kept: this.#kept,
      change: Math.sqrt(this.#changeSquares),
    };
  }
}

function dot(a: Float32Array, b: Float32Array, base: Float32Array | null, length: number): number {
  let sum = 0;
  if (base)
    for (let i = 0; i < length; i++) {
      const origin = base[i]!;
      sum += (a[i]! - origin) * (b[i]! - origin);
    }
  else for (let i = 0; i < length; i++) sum += a[i]! * b[i]!;
  return sum;
}

function squares(a: Float32Array, base: Float32Array | null, length: number): number {
  let sum = 0;
  if (base)
    for (let i = 0; i < length; i++) {
      const difference = a[i]! - base[i]!;
      sum += difference * difference;
    }
  else for (let i = 0; i < length; i++) sum += a[i]! * a[i]!;
  return sum;
}

function conflicts(models: readonly Float32Array[], base: Float32Array, length: number): number {
  let count = 0;
  for (let i = 0; i < length; i++) {
    const origin = base[i]!;
    let up = false;
    let down = false;
    for (let k = 0; k < models.length; k++) {
      const value = models[k]![i]!;
      if (value > origin) up = true;
      else if (value < origin) down = true;
    }
    if (up && down) count++;
  }
  return count;
}
