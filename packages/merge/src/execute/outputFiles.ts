import { createHash } from 'node:crypto';
import { copyFile, open, stat, statfs as statfsOfNode, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { makeFolder, writeJson } from '@attune/core/io';
import { AttuneError, diskError, formatBytes } from '@attune/core/util';
import type { TensorTask } from '../contract/tensorTask.js';
import type { MergePlan } from '../plan/mergePlan.js';
import { bytesOfTask } from './mergeTask.js';
import { inputError } from './openFiles.js';
import type { OutputPlan } from './outputPlan.js';

/** Free blocks of the disk that a path lies on. */
export type FreeSpace = (
  path: string,
) => Promise<{ readonly bavail: number; readonly bsize: number }>;

type Files = Pick<MergePlan, 'outConfig' | 'outConfigSource' | 'files'>;

/** What is written beside the weights, as one number. */
export const filesHash = ({ outConfig, files }: Pick<Files, 'outConfig' | 'files'>): string =>
  createHash('sha256')
    .update(JSON.stringify([outConfig, files]))
    .digest('hex');

/**
 * Asks the disk, before the first byte is written.
 *
 * @param written tensors that are there from before, by name
 * @throws MERGE_DISK
 */
export async function checkSpace(
  { tasks, files }: Pick<MergePlan, 'tasks' | 'files'>,
  output: OutputPlan,
  written: ReadonlyMap<string, unknown>,
  target: string,
  statfs: FreeSpace = statfsOfNode,
): Promise<void> {
  const missing = (task: TensorTask) => (written.has(task.name) ? 0 : bytesOfTask(task));
  let needed = tasks.reduce((sum, task) => sum + missing(task), 0);
  for (const { header } of output.shards) needed += header.byteLength;
  for (const { contents } of files)
    needed += typeof contents === 'string' ? contents.length : await sizeOf(contents.copyOf);
  const folder = dirname(target);
  const { bavail, bsize } = await statfs(folder);
  const free = bavail * bsize;
  if (needed <= free) return;
  throw new AttuneError(
    'MERGE_DISK',
    `The merge writes ${formatBytes(needed)}, but ${folder} has ${formatBytes(free)} free; nothing was written.`,
    {
      remedy: `Free ${formatBytes(needed - free)}, or give an outputDir on another disk.`,
      details: { needed, free, folder },
    },
  );
}

const sizeOf = async (path: string): Promise<number> => {
  try {
    return (await stat(path)).size;
  } catch (error) {
    throw inputError(error, path);
  }
};

/**
 * Weight files of their full size with their headers; those that are there keep what is in them.
 *
 * @throws DISK_WRITE
 */
export async function makeShards(folder: string, output: OutputPlan): Promise<void> {
  try {
    await makeFolder(folder);
    for (const { name, header, numBytes } of output.shards) {
      const path = join(folder, name);
      const file = await open(path, 'a').then((made) => made.close().then(() => open(path, 'r+')));
      try {
        await file.write(header, 0, header.length, 0);
        await file.truncate(numBytes);
      } finally {
        await file.close();
      }
    }
  } catch (error) {
    throw diskError(error, folder);
  }
}

/** config.json, the index of the shards, the files of the plan. @throws DISK_WRITE, MERGE_INPUT */
export async function writeFiles(
  folder: string,
  { outConfig, outConfigSource, files }: Files,
  output: OutputPlan,
): Promise<void> {
  try {
    await writeJson(join(folder, 'config.json'), outConfig, { like: outConfigSource });
    if (output.index) await writeJson(join(folder, 'model.safetensors.index.json'), output.index);
    for (const { name, contents } of files) {
      const path = join(folder, name);
      await makeFolder(dirname(path));
      if (typeof contents === 'string') await writeFile(path, contents);
      else {
        await sizeOf(contents.copyOf);
        await copyFile(contents.copyOf, path);
      }
    }
  } catch (error) {
    throw diskError(error, folder);
  }
}
