import { join } from 'node:path';
import { bytesOfTask, type MergeJob, type MergeResult, type WrittenTensor } from './mergeTask.js';
import type { OutputPlan } from './outputPlan.js';
import type { AdapterReader, PreparedTask } from './preparedTasks.js';
import { CallingThread, canMove, type TaskThread, type Workers } from './threads.js';

/** What tasks are run with. */
export interface TaskRun {
  /** The folder of the weight files. */
  readonly folder: string;
  readonly output: OutputPlan;
  readonly seed: number;
  readonly workers: Workers;
  /** Whether what methods do is measured. */
  readonly measured: boolean;
  /** What an earlier merge wrote, by the name of the tensor. */
  readonly written: ReadonlyMap<string, WrittenTensor>;
  readonly adapters: AdapterReader;
  readonly signal: AbortSignal | undefined;
  onBytes(bytes: number): void;
  onDone(task: PreparedTask, result: MergeResult): void;
}

/**
 * Runs tasks on workers, the largest first; those whose method no worker can load, on the calling
 * thread meanwhile. Each thread has one task at a time.
 *
 * @throws what the first task that fails throws; the others are stopped
 */
export async function runTasks(tasks: readonly PreparedTask[], run: TaskRun): Promise<void> {
  const sorted = [...tasks].sort((a, b) => bytesOfTask(b.task) - bytesOfTask(a.task));
  const isShared = ({ method }: PreparedTask) => run.workers.threads.length > 0 && canMove(method);
  const shared = sorted.filter(isShared);
  const own = sorted.filter((task) => !isShared(task));
  const threads: [TaskThread, PreparedTask[]][] = run.workers.threads.map((thread) => [
    thread,
    shared,
  ]);
  if (own.length > 0) threads.push([new CallingThread(), own]);
  let stop: ((reason: unknown) => void) | undefined;
  const stopped = new Promise<never>((_, reject) => {
    stop = () => reject(run.signal?.reason);
  });
  stopped.catch(() => undefined);
  run.signal?.addEventListener('abort', stop!);
  try {
    run.signal?.throwIfAborted();
    const all = Promise.all(threads.map(([thread, queue]) => drain(thread, queue, run)));
    await Promise.race([all, stopped]);
  } finally {
    run.signal?.removeEventListener('abort', stop!);
    for (const [, queue] of threads) queue.length = 0;
    await Promise.all(threads.map(([thread]) => thread.close()));
  }
}

async function drain(thread: TaskThread, queue: PreparedTask[], run: TaskRun): Promise<void> {
  for (let next = queue.shift(); next; next = queue.shift()) {
    const { task, method, parameters } = next;
    const { shard, begin } = run.output.places.get(task.name)!;
    const job: MergeJob = {
      task,
      parameters,
      path: join(run.folder, shard),
      begin,
      seed: run.seed,
      measured: run.measured,
      deltas: await run.adapters.read(task),
      written: run.written.get(task.name) ?? null,
    };
    run.onDone(next, await thread.run(job, method, run.onBytes));
  }
}
