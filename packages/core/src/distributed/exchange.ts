import type { Tensor } from '../tensor/tensor.js';
import { Rng } from '../util/rng.js';
import type { Communicator } from './communicator.js';

/** Stream number of the seeds of ranks: independent of initialisation, dropout and shuffles. */
const RANK_STREAM = 0x4a4e6b00;

/**
 * The seed of what ranks draw each for itself: dropout, noise, sampling. Rank 0 has the seed of a
 * single rank.
 */
export const rankSeed = (seed: number, rank: number): number =>
  rank === 0 ? seed : new Rng(seed, RANK_STREAM + rank).next();

/**
 * Puts the sum over ranks into each tensor: read back, added, uploaded. All of them are one
 * message.
 *
 * @param tensors float32, of the same sizes on every rank
 */
export async function sumTensors(
  communicator: Communicator,
  tensors: readonly Tensor[],
): Promise<void> {
  const parts = await Promise.all(tensors.map((tensor) => tensor.data()));
  const all = new Float32Array(parts.reduce((n, { length }) => n + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  const sum = await communicator.allReduce(all);
  at = 0;
  for (const { engine, storage, byteOffset, size } of tensors) {
    engine.backend.write(storage.buffer, byteOffset, sum.slice(at, at + size));
    at += size;
  }
}

/** The sums of a few numbers over ranks, in float64. */
export async function sumNumbers(
  communicator: Communicator,
  numbers: readonly number[],
): Promise<number[]> {
  return [...(await communicator.allReduce(Float64Array.from(numbers)))];
}

const toBytes = (value: unknown): Uint8Array<ArrayBuffer> =>
  new TextEncoder().encode(JSON.stringify(value));
const fromBytes = <T>(bytes: Uint8Array): T => JSON.parse(new TextDecoder().decode(bytes)) as T;

/**
 * A value of JSON of each rank, in the order of the ranks. Numbers that are not finite become null.
 */
export async function gatherJson<T>(communicator: Communicator, value: T): Promise<T[]> {
  const all = await communicator.allGather(toBytes(value));
  return all.map((bytes) => fromBytes<T>(bytes));
}

/** The value of JSON of rank 0. @param value of other ranks: ignored */
export async function broadcastJson<T>(communicator: Communicator, value: T): Promise<T> {
  const own = communicator.rank === 0 ? toBytes(value) : null;
  return fromBytes<T>(await communicator.broadcast(own));
}

/**
 * What `score` makes of each row, on every rank, in the order of the rows: each rank scores its
 * share of them.
 *
 * @param communicator undefined: this rank scores all, and asks nobody
 * @param score of as many rows, a value of JSON for each; of none it is not called
 */
export async function shareRows<Row, Score>(
  communicator: Communicator | undefined,
  rows: readonly Row[],
  score: (own: readonly Row[]) => Promise<readonly Score[]>,
): Promise<Score[]> {
  const { rank, worldSize } = communicator ?? { rank: 0, worldSize: 1 };
  const own = rows.filter((_, i) => i % worldSize === rank);
  const scores = own.length > 0 ? await score(own) : [];
  if (!communicator || worldSize === 1) return [...scores];
  const all = await gatherJson(communicator, scores);
  return rows.map((_, i) => all[i % worldSize]![Math.floor(i / worldSize)]!);
}
