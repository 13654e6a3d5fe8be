import type { Buffer } from 'node:buffer';
import { createGunzip } from 'node:zlib';
import { BrokenBytes, CHUNK_BYTES, type Chunks } from './bytes.js';

/** Compressed bytes that are given at once: they may become a thousand times as many. */
const STEP_BYTES = 2 ** 14;

/**
 * What gzip compressed: one member or several, one behind the other.
 *
 * Where bytes are damaged, node:zlib keeps what it read of the same step. So that step is read
 * again, byte by byte: all that comes before the damage is given.
 *
 * @param open gives the compressed bytes from the first on
 * @throws BrokenBytes where the bytes end too early, are damaged, or go on with something else
 */
export async function* gunzip(open: () => Chunks): AsyncGenerator<Buffer> {
  let fed = 0;
  let given = 0;
  try {
    const steps = inflate(open(), (at) => {
      fed = at;
      return STEP_BYTES;
    });
    for await (const bytes of steps) {
      given += bytes.length;
      yield bytes;
    }
  } catch (error) {
    if (!(error instanceof BrokenBytes)) throw error;
    const damaged = fed;
    let skip = given;
    for await (const bytes of inflate(open(), (at) => (at < damaged ? STEP_BYTES : 1))) {
      if (skip < bytes.length) yield bytes.subarray(skip);
      skip = Math.max(0, skip - bytes.length);
    }
  }
}

/** @param stepAt how many bytes are given at once from a place on */
async function* inflate(chunks: Chunks, stepAt: (at: number) => number): AsyncGenerator<Buffer> {
  const unzip = createGunzip({ chunkSize: CHUNK_BYTES });
  const out: Buffer[] = [];
  let failure: Error | null = null;
  let ended = false;
  unzip.on('data', (bytes: Buffer) => out.push(bytes));
  unzip.on('end', () => {
    ended = true;
  });
  unzip.on('error', (error: Error) => {
    failure = error;
  });
  /** Waits until a call is answered, or never will be. */
  const settled = (call: (done: () => void) => void): Promise<void> =>
    new Promise((resolve) => {
      const done = (): void => {
        unzip.off('close', done).off('end', done);
        resolve();
      };
      unzip.once('close', done).once('end', done);
      call(done);
    });
  const broken = (): BrokenBytes | null =>
    failure === null ? null : new BrokenBytes(`gzip: ${failure.message}`);
  let fed = 0;
  try {
    for await (const chunk of chunks)
      for (let at = 0; at < chunk.length; ) {
        const step = chunk.subarray(at, at + stepAt(fed));
        at += step.length;
        fed += step.length;
        if (!ended && failure === null) await settled((done) => unzip.write(step, () => done()));
        yield* out.splice(0);
        if (failure !== null) throw broken();
        // What it did not take. Zeros may fill the last block of a tape.
        const left = ended ? step.subarray(-Math.min(step.length, fed - unzip.bytesWritten)) : null;
        if (left !== null && fed > unzip.bytesWritten && left.some((byte) => byte !== 0))
          throw new BrokenBytes('gzip: other bytes come behind the end');
      }
    if (!ended) await settled(() => unzip.end());
    yield* out.splice(0);
    if (failure !== null) throw broken();
  } finally {
    unzip.destroy();
  }
}
