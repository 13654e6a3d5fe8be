import { existsSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { AttuneError } from '@attune/core/util';
import type { MergeMethod } from '../contract/mergeMethod.js';
import { builtinMethods } from '../methods/index.js';
import { type MergeJob, type MergeResult, TaskRunner } from './mergeTask.js';
import { type FromWorker, type MethodPlace, received, type ToWorker } from './messages.js';

/** Something that runs one task at a time. */
export interface TaskThread {
  /** @param onBytes called with the bytes that were done since the last call */
  run(
    job: MergeJob,
    method: MergeMethod | null,
    onBytes: (bytes: number) => void,
  ): Promise<MergeResult>;
  /** Stops what runs. */
  close(): Promise<void>;
}

/** How a worker finds a method; null: it cannot. */
export function placeOf(method: MergeMethod): MethodPlace | null {
  if (builtinMethods.includes(method)) return { name: method.name, module: null };
  return method.module === undefined ? null : { name: method.name, module: method.module };
}

/** Whether a worker can do a task with this method; null: none is needed. */
export const canMove = (method: MergeMethod | null): boolean =>
  method === null || placeOf(method) !== null;

/** How long the calling thread works before others have a turn, in milliseconds. */
const TURN_MS = 10;

/** Tasks on the thread that calls, with turns for others between their pieces. */
export class CallingThread implements TaskThread {
  readonly #runner = new TaskRunner();
  #isClosed = false;

  async run(
    job: MergeJob,
    method: MergeMethod | null,
    onBytes: (bytes: number) => void,
  ): Promise<MergeResult> {
    const steps = this.#runner.run(job, method);
    let turn = performance.now();
    for (let step = steps.next(); ; step = steps.next()) {
      if (step.done) return step.value;
      onBytes(step.value);
      if (performance.now() - turn < TURN_MS) continue;
      await nextTurn();
      if (this.#isClosed) throw new Error('closed'); // Nobody waits for it any more.
      turn = performance.now();
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#runner.close();
  }
}

/** The bundle beside this one; run from its sources the package has none. */
export function workerBundle(): URL | null {
  const url = new URL('./worker.js', import.meta.url);
  return url.protocol === 'file:' && existsSync(fileURLToPath(url)) ? url : null;
}

/** Tasks on a thread of their own. */
export class WorkerThread implements TaskThread {
  readonly #worker: Worker;
  #reject: ((error: unknown) => void) | null = null;
  #death: unknown = null;

  constructor(bundle: URL) {
    this.#worker = new Worker(bundle, { name: 'attune-merge' });
    this.#worker.on('error', (cause) => this.#fail(died(cause.message, cause)));
    this.#worker.on('exit', (code) => this.#fail(died(`it ended with ${code}`)));
  }

  run(
    job: MergeJob,
    method: MergeMethod | null,
    onBytes: (bytes: number) => void,
  ): Promise<MergeResult> {
    return new Promise((resolve, reject) => {
      if (this.#death !== null) return reject(this.#death);
      this.#reject = reject;
      const listen = (message: FromWorker) => {
        if (message.kind === 'progress')
          try {
            return onBytes(message.bytes);
          } catch (error) {
            // The listener's own: nobody else would hear of it.
            return reject(error);
          }
        this.#worker.off('message', listen);
        this.#reject = null;
        if (message.kind === 'done') resolve(message.result);
        else reject(received(message.error));
      };
      this.#worker.on('message', listen);
      const deltas = job.deltas.flatMap((delta) => (delta ? [delta.buffer as ArrayBuffer] : []));
      this.#worker.postMessage(
        { job, method: method && placeOf(method) } satisfies ToWorker,
        deltas,
      );
    });
  }

  async close(): Promise<void> {
    this.#reject = null;
    await this.#worker.terminate();
  }

  #fail(error: unknown): void {
    this.#death ??= error;
    this.#reject?.(error);
    this.#reject = null;
  }
}

/** Worker threads, which start at once: it takes some 40 ms, while others prepare their work. */
export class Workers implements AsyncDisposable {
  readonly threads: readonly WorkerThread[];

  /** @param script null: there can be none */
  constructor(script: URL | null, count: number) {
    this.threads = script ? Array.from({ length: count }, () => new WorkerThread(script)) : [];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.threads.map((thread) => thread.close()));
  }
}

const died = (how: string, cause?: unknown): AttuneError =>
  new AttuneError('MERGE_WORKER', `A worker thread of the merge died: ${how}.`, {
    remedy: 'Merge again with workers: 0 to see more, or with a smaller maxMemory.',
    ...(cause !== undefined && { cause }),
  });
