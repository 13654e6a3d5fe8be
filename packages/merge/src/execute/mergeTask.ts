import { crc32 } from 'node:zlib';
import { type SafetensorsDType, safetensorsBytes } from '@attune/core/io';
import { AttuneError } from '@attune/core/util';
import { chunkedGroup } from '../arithmetic/chunkedGroup.js';
import { roundings } from '../arithmetic/rounding.js';
import { ScratchMemory } from '../arithmetic/scratchMemory.js';
import { uniformStreams } from '../arithmetic/uniformStreams.js';
import type { MergeMethod } from '../contract/mergeMethod.js';
import type { TensorTask } from '../contract/tensorTask.js';
import { StatisticsOf, type TensorStatistics } from '../report/statistics.js';
import { copyTask } from './copyTask.js';
import { FloatFiles } from './fileElements.js';
import { OpenFiles, readExactly, writeExactly } from './openFiles.js';
import { readAs, sourceElements } from './sourceElements.js';
import { findUnstorable, isFloatDType, storeFloats } from './storeFloats.js';
import { unstorable } from './unstorable.js';

/** A task with all that a thread needs for it. Plain data. */
export interface MergeJob {
  readonly task: TensorTask;
  /** The parameters of the task, checked and completed. */
  readonly parameters: Readonly<Record<string, unknown>>;
  /** The file that is written, and the byte in it at which the tensor begins. */
  readonly path: string;
  readonly begin: number;
  readonly seed: number;
  /** What adapters add, for the inputs that have one. */
  readonly deltas: readonly (Float32Array | null)[];
  /** Whether what the method does to the tensor is measured, for a report. */
  readonly measured: boolean;
  /** What an earlier merge wrote there; null: nothing. */
  readonly written: WrittenTensor | null;
}

/** A tensor that is in its place. */
export interface WrittenTensor {
  /** CRC-32 of its bytes. */
  readonly crc: number;
  /** What the method did; null: it was not measured, or the tensor was copied. */
  readonly statistics: TensorStatistics | null;
}

/** What came of a task. */
export interface MergeResult extends WrittenTensor {
  /** Whether the bytes of an earlier merge were kept. */
  readonly kept: boolean;
}

/** Bytes of the result of a task. */
export const bytesOfTask = ({ shape, dtype }: Pick<TensorTask, 'shape' | 'dtype'>): number =>
  shape.reduce((a, b) => a * b, safetensorsBytes[dtype as SafetensorsDType]);

/** Bytes that are read at once to be compared. */
export const CHECKED_AT_ONCE = 2 ** 18;

/**
 * Runs tasks on the thread that it lives on, with files and memory that are used again for the
 * next one.
 */
export class TaskRunner {
  readonly #inputs = new OpenFiles('r');
  readonly #outputs = new OpenFiles('r+');
  readonly #floats = new FloatFiles(this.#inputs);
  readonly #memory = new ScratchMemory();

  /**
   * Reads, computes and writes a task piece by piece.
   *
   * @param method that of the task; null: it has none
   * @yields the number of bytes that were done, after each piece
   * @throws MERGE_INPUT, MERGE_NON_FINITE, MERGE_OVERFLOW, DISK_WRITE
   */
  *run(job: MergeJob, method: MergeMethod | null): Generator<number, MergeResult> {
    const { written } = job;
    if (written && (yield* this.#isThere(job, written.crc))) return { ...written, kept: true };
    if (method) return { ...(yield* this.#merge(job, method)), kept: false };
    const crc = yield* copyTask(job, this.#inputs, this.#outputs);
    return { crc, statistics: null, kept: false };
  }

  close(): void {
    this.#inputs.close();
    this.#outputs.close();
  }

  *#isThere({ task, path, begin }: MergeJob, written: number): Generator<number, boolean> {
    const total = bytesOfTask(task);
    this.#memory.reset();
    const room = this.#memory.take(1)(0, Math.ceil(Math.min(total, CHECKED_AT_ONCE) / 4));
    const piece = new Uint8Array(room.buffer, 0, room.byteLength);
    let crc = 0;
    for (let at = 0; at < total; at += piece.length) {
      const bytes = piece.subarray(0, Math.min(piece.length, total - at));
      readExactly(this.#outputs, path, begin + at, bytes);
      crc = crc32(bytes, crc);
      yield 0;
    }
    if (crc !== written) return false;
    yield total;
    return true;
  }

  *#merge(job: MergeJob, method: MergeMethod): Generator<number, WrittenTensor> {
    const { task, parameters, path, begin, seed, deltas } = job;
    const { name, shape, dtype, arithmetic, baseIndex } = task;
    if (!isFloatDType(dtype))
      throw new AttuneError('MERGE_DTYPE', `${name} cannot be written as ${dtype}.`, {
        remedy: 'Give out_dtype: float32, bfloat16 or float16.',
      });
    const readers = task.inputs.map(({ source }, k) =>
      readAs(arithmetic, source, sourceElements(source, this.#floats, deltas[k] ?? null)),
    );
    this.#memory.reset();
    const group = chunkedGroup({
      name,
      shape,
      inputs: readers,
      baseIndex,
      chunks: method.chunks ?? 'elements',
      memory: this.#memory,
    });
    const statistics = job.measured ? new StatisticsOf(group) : null;
    const combine = method.merge(group, parameters, {
      dtype: arithmetic,
      round: roundings[arithmetic],
      random: uniformStreams(seed, name),
      ...(statistics && { kept: (shares) => statistics.kept(shares) }),
    });
    let crc = 0;
    const size = safetensorsBytes[dtype];
    const result = this.#memory.take(1);
    for (const chunk of group.chunks()) {
      const out = result(0, chunk.length);
      combine(chunk, out);
      statistics?.add(chunk, out);
      const bad = findUnstorable(out, dtype);
      if (bad >= 0) throw unstorable(task, chunk.start + bad, out[bad]!, readers);
      const bytes = storeFloats(out, dtype);
      writeExactly(this.#outputs, path, begin + chunk.start * size, bytes);
      crc = crc32(bytes, crc);
      yield bytes.length;
    }
    return { crc, statistics: statistics?.finish() ?? null };
  }
}
