import { availableParallelism } from 'node:os';
import { AttuneError, formatBytes } from '@attune/core/util';
import { chunkLength } from '../arithmetic/chunkedGroup.js';
import type { MergeMethod } from '../contract/mergeMethod.js';
import type { TensorTask } from '../contract/tensorTask.js';
import { COPIED_AT_ONCE } from './copyTask.js';
import { bytesOfTask } from './mergeTask.js';

/** With how much of the machine a merge runs. */
export interface MergeResources {
  /** Worker threads; 0: all on the calling thread. */
  readonly workers: number;
  /** Memory beside Node's own at its peak, as predicted. */
  readonly peakBytes: number;
}

export interface ResourceLimits {
  /** Bytes; null: no limit. */
  readonly maxMemory: number | null;
  /** null: chosen by size. */
  readonly workers: number | null;
  /** Processor cores. Default: those that this process may use. */
  readonly cores?: number;
}

/** More than this, and threads wait for the disk. */
const MAX_WORKERS = 8;

/** Bytes read and written below which a thread costs more than it saves. */
const BYTES_WORTH_A_WORKER = 2 ** 25;

/** What the code of a merge and its plan take of the calling thread. */
const OWN_BYTES = 24 * 2 ** 20;

/** What a worker thread takes before it has a chunk: its heap, its code. */
const WORKER_BYTES = 12 * 2 ** 20;

/** What a task takes memory for while it runs. */
export interface TaskMemory {
  /** Chunks of the inputs and the result. */
  readonly chunks: number;
  /** What adapters add, whole. */
  readonly deltas: number;
  /** Which rows embeddings have. */
  readonly rows: number;
}

/**
 * Bytes of memory that a task takes. Chunks are the same whatever memory there is: a sum over
 * others would end in another bit.
 */
export function memoryOfTask(task: TensorTask, method: MergeMethod | null): TaskMemory {
  const { shape, inputs } = task;
  const length = shape.reduce((a, b) => a * b, 1);
  const piece = method ? chunkLength({ shape, chunks: method.chunks ?? 'elements' }, length) : 0;
  // float64 is read beside the place of its float32.
  const wide = inputs.some(({ source }) => source.tensor.dtype === 'F64') ? 8 * piece : 0;
  const adapted = inputs.filter(({ source }) => source.kind === 'adapted').length;
  return {
    chunks: method ? 4 * piece * (inputs.length + 1) + wide : 2 * COPIED_AT_ONCE,
    // While one is computed there are its float64 numbers too.
    deltas: adapted * 4 * length + (adapted > 0 ? 8 * length : 0),
    rows: inputs.reduce(
      (sum, { source: s }) => sum + (s.kind === 'rows' ? s.rows.byteLength : 0),
      0,
    ),
  };
}

const total = ({ chunks, deltas, rows }: TaskMemory): number => chunks + deltas + rows;

/** Memory beside Node's own at the peak: the largest tasks at the same time, one a thread. */
export function predictPeak(
  tasks: readonly TensorTask[],
  methods: ReadonlyMap<string, MergeMethod>,
  workers: number,
): number {
  const sizes = tasks
    .map((task) => total(memoryOfTask(task, methodOf(task, methods))))
    .sort((a, b) => b - a);
  const threads = Math.max(1, workers);
  const largest = sizes.slice(0, threads).reduce((a, b) => a + b, 0);
  return OWN_BYTES + workers * WORKER_BYTES + largest;
}

const methodOf = (
  { method }: TensorTask,
  methods: ReadonlyMap<string, MergeMethod>,
): MergeMethod | null => (method === null ? null : (methods.get(method) ?? null));

/**
 * How many workers a merge gets: as many as there are cores and work for, fewer where `maxMemory`
 * has no room for them.
 *
 * @throws MERGE_MEMORY naming the tensor that does not fit
 */
export function planResources(
  tasks: readonly TensorTask[],
  methods: ReadonlyMap<string, MergeMethod>,
  limits: ResourceLimits,
): MergeResources {
  const wanted = limits.workers ?? chooseWorkers(tasks, limits.cores ?? availableParallelism());
  const { maxMemory } = limits;
  for (let workers = wanted; workers >= 0; workers--) {
    const peakBytes = predictPeak(tasks, methods, workers);
    if (maxMemory === null || peakBytes <= maxMemory) return { workers, peakBytes };
  }
  throw tooLittle(tasks, methods, maxMemory!);
}

/** One core has nothing to share; a small merge is done before a thread has started. */
function chooseWorkers(tasks: readonly TensorTask[], cores: number): number {
  if (cores < 2) return 0;
  const bytes = tasks.reduce((sum, task) => sum + bytesOfTask(task) * (1 + task.inputs.length), 0);
  return Math.min(MAX_WORKERS, cores, tasks.length, Math.floor(bytes / BYTES_WORTH_A_WORKER));
}

function tooLittle(
  tasks: readonly TensorTask[],
  methods: ReadonlyMap<string, MergeMethod>,
  maxMemory: number,
): AttuneError {
  let largest = tasks[0]!;
  let most: TaskMemory = { chunks: 0, deltas: 0, rows: 0 };
  for (const task of tasks) {
    const memory = memoryOfTask(task, methodOf(task, methods));
    if (total(memory) >= total(most)) [largest, most] = [task, memory];
  }
  const method = methodOf(largest, methods);
  const parts = [
    `${formatBytes(OWN_BYTES)} for the merge itself`,
    `${formatBytes(most.chunks)} for ${largest.inputs.length} inputs and the result${method?.chunks === 'tensor' ? `, of which ${method.name} needs all at once` : ''}`,
    ...(most.deltas > 0 ? [`${formatBytes(most.deltas)} for what adapters add to it`] : []),
    ...(most.rows > 0 ? [`${formatBytes(most.rows)} for its order of rows`] : []),
  ];
  return new AttuneError(
    'MERGE_MEMORY',
    `"${largest.name}" [${largest.shape}] needs ${formatBytes(OWN_BYTES + total(most))} (${parts.join('; ')}), but maxMemory is ${formatBytes(maxMemory)}.`,
    {
      remedy: `Give maxMemory: ${Math.ceil((OWN_BYTES + total(most)) / 1e6)}MB or more.`,
      details: { tensor: largest.name, needed: OWN_BYTES + total(most), maxMemory },
    },
  );
}
