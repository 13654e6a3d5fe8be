import { createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Rng } from '@attune/core/util';

/** How vectors lie: their clusters, and the cosine of two of one cluster. */
export interface Cloud {
  readonly count: number;
  readonly dimension: number;
  /** 0: each vector stands for itself. */
  readonly clusters: number;
  readonly within: number;
  /** Copies have a cosine from here to 1 to an earlier vector: a tenth of all. */
  readonly copiesFrom: number;
}

/** Unit vectors as 32-bit numbers, one after the other. */
export function unitVectors({
  count,
  dimension,
  clusters,
  within,
  copiesFrom,
}: Cloud): Float32Array {
  const rng = new Rng(11);
  const data = new Float32Array(count * dimension);
  const random = () => toUnit(Float64Array.from({ length: dimension }, () => rng.normal()));
  const centers = Array.from({ length: clusters }, random);
  for (let i = 0; i < count; i++) {
    const isCopy = i > 0 && rng.uniform() < 0.1;
    const other = rng.below(Math.max(1, i)) * dimension;
    const near = isCopy
      ? data.subarray(other, other + dimension)
      : clusters > 0
        ? centers[rng.below(clusters)]!
        : null;
    // Two at the cosine c to their center have c^2 to each other.
    const cosine = isCopy ? copiesFrom + (1 - copiesFrom) * rng.uniform() : Math.sqrt(within);
    const own = random();
    data.set(near ? between(near, own, cosine) : own, i * dimension);
  }
  return data;
}

function toUnit(vector: Float64Array): Float64Array {
  const length = Math.hypot(...vector);
  return vector.map((x) => x / length);
}

/** The unit vector at a cosine to `near`, on the side of `own`. */
function between(near: ArrayLike<number>, own: Float64Array, cosine: number): Float64Array {
  const along = own.reduce((sum, x, d) => sum + x * near[d]!, 0);
  const across = toUnit(own.map((x, d) => x - along * near[d]!));
  const sine = Math.sqrt(1 - cosine * cosine);
  return across.map((x, d) => sine * x + cosine * near[d]!);
}

/** A file of them in a temporary folder. */
export interface VectorsFile extends AsyncDisposable {
  readonly path: string;
  readonly folder: string;
}

/** Writes numbers as they lie in memory. */
export async function vectorsFile(data: Float32Array): Promise<VectorsFile> {
  const folder = await mkdtemp(join(tmpdir(), 'attune-bench-'));
  const path = join(folder, 'vectors.f32');
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  await new Promise<void>((resolve, reject) => {
    createWriteStream(path).on('error', reject).end(bytes, resolve);
  });
  return {
    path,
    folder,
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}
