import { dirname, join } from 'node:path';
import type { Attune } from '@attune/core';
import { AttuneError, parseBytes } from '@attune/core/util';
import type { MergeMethod } from '../contract/mergeMethod.js';
import type { TensorTask } from '../contract/tensorTask.js';
import type { MergeProgress } from '../options.js';
import type { MergePlan } from '../plan/mergePlan.js';
import { EarlySync } from './earlySync.js';
import { fingerprintOf } from './fingerprint.js';
import { checkUnchanged, identifyInputs } from './inputFiles.js';
import { Journal, type JournalEntries } from './journal.js';
import { bytesOfTask, type WrittenTensor } from './mergeTask.js';
import { checkSpace, type FreeSpace, filesHash, makeShards, writeFiles } from './outputFiles.js';
import { planOutput } from './outputPlan.js';
import { AdapterReader, methodTable, prepareTasks } from './preparedTasks.js';
import { ProgressMeter } from './progressMeter.js';
import { planResources } from './resources.js';
import { runTasks } from './runTasks.js';
import { checkReplaceable, resolveTarget, StagingFolder, statOf } from './stagingFolder.js';
import { canMove, Workers, workerBundle } from './threads.js';
import { verifyOutput } from './verifyOutput.js';

/** What a merge is run with. */
export interface ExecuteOptions {
  readonly outputDir: string;
  readonly overwrite: boolean;
  readonly maxShardSize: number | string;
  readonly maxMemory?: number | string | undefined;
  readonly workers?: number | undefined;
  readonly verify: boolean;
  readonly onProgress?: ((progress: MergeProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Reads adapters. */
  readonly attune?: Attune | undefined;
  /** All methods that a task can name, the built-in ones among them. */
  readonly methods: readonly MergeMethod[];
  /** Measures what methods do to each tensor, for a report. Default false. */
  readonly measured?: boolean;
  /** Writes more files (report, model card) into the folder before it takes its place. */
  readonly finish?: (folder: string, outcome: MergeOutcome) => Promise<void>;
  /** The script of the workers; null: none. Default: the package's. */
  readonly workerScript?: URL | null;
  /** Free space of a folder. Default: Node's. */
  readonly statfs?: FreeSpace;
}

/** What came of a merge. */
export interface MergeOutcome {
  /** The folder that was written, without links. */
  readonly outputDir: string;
  readonly tensors: number;
  /** Bytes of all tensors. */
  readonly bytes: number;
  /** What of it an earlier merge that was interrupted had written. */
  readonly tensorsKept: number;
  readonly bytesKept: number;
  /** Worker threads; 0: all ran on the calling thread. */
  readonly workers: number;
  readonly seconds: number;
  /** By name: the CRC-32 of its bytes and, where it was measured, what the method did. */
  readonly written: ReadonlyMap<string, WrittenTensor>;
}

/**
 * Merges what a plan says into a folder, which is there whole at the end, or not at all.
 *
 * It grows in `.NAME.merging` beside it, with a journal of the tensors that are written. What stops
 * a merge leaves that behind: the same merge goes on from it, to the same bytes; another one begins
 * anew.
 *
 * @throws MERGE_OUTPUT, MERGE_INPUT, MERGE_MEMORY, MERGE_DISK, MERGE_NON_FINITE, MERGE_OVERFLOW,
 *   MERGE_INTEGERS, MERGE_VERIFY, OUTPUT_DIR_IN_USE, DISK_WRITE; MERGE_STOPPED with the reason
 *   of `signal` as its cause
 */
export async function executeMerge(
  plan: MergePlan,
  options: ExecuteOptions,
): Promise<MergeOutcome> {
  const began = performance.now();
  const { signal, measured = false } = options;
  if (signal?.aborted) throw stopped(signal, 'Nothing was written.');
  const methods = methodTable(options.methods);
  const prepared = prepareTasks(plan.tasks, methods);
  const output = planOutput(plan.tasks, options.maxShardSize);
  const script = options.workerScript === undefined ? workerBundle() : options.workerScript;
  const resources = planResources(plan.tasks, methods, {
    maxMemory: options.maxMemory === undefined ? null : parseBytes(options.maxMemory, 'maxMemory'),
    workers: script === null ? 0 : (options.workers ?? null),
  });
  const numShared = prepared.filter(({ method }) => canMove(method)).length;
  await using workers = new Workers(script, Math.min(resources.workers, numShared));
  const target = await resolveTarget(options.outputDir, inputFolders(plan));
  const inputs = await identifyInputs(plan.tasks);
  const used = new Set(prepared.flatMap(({ method }) => method ?? []));
  const fingerprint = fingerprintOf(plan, output, inputs, used);
  const files = filesHash(plan);

  const staging = await StagingFolder.open(target);
  let isPlaced = false;
  try {
    const before = Journal.read(staging.journal, fingerprint);
    const earlier = usable(plan.tasks, before, measured);
    const written = new Map<string, WrittenTensor>();
    const kept = new Set<string>();
    const outcome = (): MergeOutcome => ({
      outputDir: target,
      tensors: plan.tasks.length,
      bytes: output.tensorBytes,
      tensorsKept: kept.size,
      bytesKept: plan.tasks.reduce((n, t) => n + (kept.has(t.name) ? bytesOfTask(t) : 0), 0),
      workers: resources.workers,
      seconds: (performance.now() - began) / 1000,
      written,
    });
    if (before?.placed === files && !(await statOf(staging.model)) && (await statOf(target))) {
      // A process died after it had renamed the folder.
      for (const [name, tensor] of before.written) {
        written.set(name, tensor);
        kept.add(name);
      }
      isPlaced = true;
      return outcome();
    }
    await checkReplaceable(target, options.overwrite);
    await checkSpace(plan, output, earlier, target, options.statfs);
    if (!before) {
      await staging.clear();
      await Journal.begin(staging.journal, fingerprint);
    }
    await makeShards(staging.model, output);
    const journal = Journal.open(staging.journal);
    const early = new EarlySync();
    const meter = new ProgressMeter(output.tensorBytes, plan.tasks.length, options.onProgress);
    try {
      await using adapters = new AdapterReader(options.attune);
      await runTasks(prepared, {
        folder: staging.model,
        output,
        seed: plan.seed,
        workers,
        measured,
        written: earlier,
        adapters,
        signal,
        onBytes: (bytes) => meter.addBytes(bytes),
        onDone: ({ task }, result) => {
          if (result.kept) kept.add(task.name);
          else journal.add(task.name, result);
          const shard = join(staging.model, output.places.get(task.name)!.shard);
          early.add(shard, bytesOfTask(task));
          written.set(task.name, result);
          meter.addTensor(result.kept ? bytesOfTask(task) : 0);
        },
      });
      await early.end();
      await checkUnchanged(inputs);
      await writeFiles(staging.model, plan, output);
      await options.finish?.(staging.model, outcome());
      signal?.throwIfAborted();
      if (options.verify) await verifyOutput(staging.model, plan, output, written, signal);
      journal.placing(files);
    } finally {
      journal.close();
    }
    await staging.place();
    isPlaced = true;
    meter.finish();
    return outcome();
  } catch (error) {
    throw withPlace(error, staging.isUseful ? staging.path : null, signal);
  } finally {
    if (isPlaced) await staging.remove();
    else await staging.leave();
  }
}

/** What an earlier merge wrote and this one needs not do again. */
function usable(
  tasks: readonly TensorTask[],
  before: JournalEntries | null,
  measured: boolean,
): ReadonlyMap<string, WrittenTensor> {
  const found = new Map<string, WrittenTensor>();
  for (const { name, method } of tasks) {
    const tensor = before?.written.get(name);
    // It was not measured then.
    const isBare = measured && method !== null && tensor?.statistics === null;
    if (tensor && !isBare) found.set(name, tensor);
  }
  return found;
}

/** Folders that the merge reads: the output is none of them. */
const inputFolders = ({ folders, tasks }: MergePlan): ReadonlySet<string> =>
  new Set([
    ...folders.values(),
    ...tasks.flatMap(({ inputs }) =>
      inputs.flatMap(({ source }) => [
        dirname(source.tensor.path),
        ...(source.kind === 'adapted' ? [source.adapter] : []),
      ]),
    ),
  ]);

const stopped = (
  { reason }: AbortSignal,
  remedy: string,
  details?: Readonly<Record<string, unknown>>,
): AttuneError =>
  new AttuneError('MERGE_STOPPED', 'The merge was stopped.', {
    remedy,
    cause: reason,
    ...(details && { details }),
  });

/** Says where the merge goes on from. @param path null: from nowhere */
function withPlace(error: unknown, path: string | null, signal: AbortSignal | undefined): unknown {
  const kept =
    path === null
      ? 'Nothing was written.'
      : `What was done is kept in ${path}: the same merge goes on from there.`;
  const details = { staging: path };
  if (signal?.aborted && error === signal.reason) return stopped(signal, kept, details);
  if (path === null || !AttuneError.isInstance(error)) return error;
  const { code, description, remedy, cause } = error;
  return new AttuneError(code, description, {
    remedy: remedy ? `${remedy} ${kept}` : kept,
    details: { ...error.details, ...details },
    ...(cause !== undefined && { cause }),
  });
}
