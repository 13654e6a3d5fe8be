import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { crc32 } from 'node:zlib';
import { readHfConfig, WeightFolder } from '@attune/core/io';
import { AttuneError } from '@attune/core/util';
import type { MergePlan } from '../plan/mergePlan.js';
import { bytesOfTask, CHECKED_AT_ONCE, type WrittenTensor } from './mergeTask.js';
import { OpenFiles, readExactly } from './openFiles.js';
import type { OutputPlan } from './outputPlan.js';

/**
 * Reads a written model as others do and compares it with the plan and with what was computed:
 * config.json, names, dtypes, shapes, all bytes.
 *
 * @param written each tensor as it was computed
 * @throws MERGE_VERIFY, and what a reader of such folders throws
 */
export async function verifyOutput(
  folder: string,
  { tasks, outConfig }: Pick<MergePlan, 'tasks' | 'outConfig'>,
  output: OutputPlan,
  written: ReadonlyMap<string, WrittenTensor>,
  signal?: AbortSignal,
): Promise<void> {
  const { config } = await readHfConfig(folder);
  if (!isDeepStrictEqual(config, JSON.parse(JSON.stringify(outConfig))))
    throw bad(`${folder}: config.json is not what was written.`);
  await using weights = await WeightFolder.open(folder);
  const extra = weights.names.find((name) => !output.places.has(name));
  if (extra !== undefined) throw bad(`${folder} has "${extra}", which is not of the merge.`);
  const files = new OpenFiles('r');
  try {
    for (const task of tasks) {
      const { dtype, shape } = weights.info(task.name);
      if (dtype !== task.dtype || `${shape}` !== `${task.shape}`)
        throw bad(
          `${folder}: "${task.name}" is ${dtype} [${shape}], expected ${task.dtype} [${task.shape}].`,
        );
      const { shard, begin } = output.places.get(task.name)!;
      const crc = await checksum(files, join(folder, shard), begin, bytesOfTask(task), signal);
      if (crc !== written.get(task.name)?.crc)
        throw bad(`${folder}: "${task.name}" has other bytes than were computed.`);
    }
  } finally {
    files.close();
  }
}

async function checksum(
  files: OpenFiles,
  path: string,
  begin: number,
  numBytes: number,
  signal?: AbortSignal,
): Promise<number> {
  const memory = new Uint8Array(Math.min(numBytes, CHECKED_AT_ONCE));
  let crc = 0;
  for (let at = 0; at < numBytes; at += memory.length) {
    const bytes = memory.subarray(0, Math.min(memory.length, numBytes - at));
    readExactly(files, path, begin + at, bytes);
    crc = crc32(bytes, crc);
    // A MB takes a fraction of a millisecond.
    if (at % 2 ** 24 === 0) {
      await nextTurn();
      signal?.throwIfAborted();
    }
  }
  return crc;
}

const bad = (message: string): AttuneError =>
  new AttuneError('MERGE_VERIFY', message, {
    remedy: 'The disk or its memory is at fault: merge to another one.',
  });
