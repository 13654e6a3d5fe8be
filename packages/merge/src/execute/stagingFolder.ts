import type { Stats } from 'node:fs';
import { lstat, readdir, realpath, rename, rm, rmdir, stat } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { FolderLock, makeFolder, syncFolder, syncTree } from '@attune/core/io';
import { AttuneError, diskError, isSystemError, silentLogger } from '@attune/core/util';
import { Journal } from './journal.js';

/**
 * Where the output of a merge grows until it is whole: `.NAME.merging` beside it.
 *
 *     .NAME.merging/
 *       lock       which process is at work
 *       journal    which merge it is, and which tensors are written
 *       model/     becomes the output folder
 *       replaced/  a folder that was there before, for the moment between two renames
 */
export class StagingFolder {
  readonly model: string;
  readonly journal: string;
  readonly #replaced: string;

  private constructor(
    /** The output folder, without links. */
    readonly target: string,
    readonly path: string,
    private readonly lock: FolderLock,
  ) {
    this.model = join(path, 'model');
    this.journal = join(path, 'journal');
    this.#replaced = join(path, 'replaced');
  }

  /**
   * Takes the place for this process, and undoes a replacement that a process did not finish.
   *
   * @throws OUTPUT_DIR_IN_USE where another merge is at work; DISK_WRITE
   */
  static async open(target: string): Promise<StagingFolder> {
    const path = stagingOf(target);
    try {
      await makeFolder(path);
      const use = { folder: target, doing: 'merging' };
      const lock = await FolderLock.take(join(path, 'lock'), use, silentLogger);
      const staging = new StagingFolder(target, path, lock);
      await staging.#recover();
      return staging;
    } catch (error) {
      throw diskError(error, target);
    }
  }

  /** A folder that was moved aside comes back, unless another took its place. */
  async #recover(): Promise<void> {
    if (!(await statOf(this.#replaced))) return;
    // An empty folder is nobody's work: what was there before is worth more.
    await rmdir(this.target).catch(() => undefined);
    if (await statOf(this.target)) await rm(this.#replaced, { recursive: true });
    else await rename(this.#replaced, this.target);
  }

  /** Makes all of `model/` durable, and renames it to the output folder. */
  async place(): Promise<void> {
    try {
      await syncTree(this.model);
      const before = await readdir(this.target).catch(() => null);
      if (before?.length === 0) await rmdir(this.target);
      else if (before) await rename(this.target, this.#replaced);
      try {
        await rename(this.model, this.target);
      } catch (error) {
        await this.#recover();
        throw error;
      }
      await syncFolder(dirname(this.target));
    } catch (error) {
      throw diskError(error, this.target);
    }
  }

  /** What was begun goes. */
  async clear(): Promise<void> {
    await rm(this.model, { recursive: true, force: true });
    await rm(this.journal, { recursive: true, force: true });
  }

  /** Leaves nothing beside the output folder. */
  async remove(): Promise<void> {
    await rm(this.#replaced, { recursive: true, force: true });
    await this.clear();
    await this.lock[Symbol.asyncDispose]();
    // Another merge may have come in between: then it is not empty.
    await rmdir(this.path).catch(() => undefined);
  }

  /** Whether a merge could go on from what is there. */
  get isUseful(): boolean {
    return Journal.hasParts(this.journal);
  }

  /** Lets others have it. What was begun stays, where any tensor of it is whole. */
  async leave(): Promise<void> {
    if (!this.isUseful) return this.remove();
    await this.lock[Symbol.asyncDispose]();
  }
}

const stagingOf = (target: string): string => join(dirname(target), `.${basename(target)}.merging`);

export const statOf = (path: string): Promise<Stats | null> =>
  stat(path).catch((error) => {
    if (isSystemError(error) && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) return null;
    throw error;
  });

const bad = (message: string, remedy: string): AttuneError =>
  new AttuneError('MERGE_OUTPUT', message, { remedy });

/**
 * The folder to write, without links, with its parent made.
 *
 * @param inputs folders that are read
 * @throws MERGE_OUTPUT for a file, a mount point, a folder that is or holds or lies in an input;
 *   DISK_WRITE
 */
export async function resolveTarget(outputDir: string, inputs: Iterable<string>): Promise<string> {
  const given = resolve(outputDir);
  let found: Stats | null;
  let target: string;
  try {
    await makeFolder(dirname(given));
    found = await statOf(given);
    target = found ? await realpath(given) : join(await realpath(dirname(given)), basename(given));
    if (!found && (await lstat(given).catch(() => null)))
      throw bad(
        `outputDir ${outputDir} is a link to something that does not exist.`,
        'Make the folder that it leads to, or remove the link.',
      );
  } catch (error) {
    throw diskError(error, outputDir);
  }
  if (found && !found.isDirectory())
    throw bad(`outputDir ${outputDir} is a file.`, 'Give the path of a folder.');
  if (found && found.dev !== (await stat(dirname(target))).dev)
    throw bad(
      `outputDir ${outputDir} is on another disk than the folder that it is in, so nothing can be renamed to it.`,
      `Give a folder in it: ${join(outputDir, 'merged')}.`,
    );
  for (const folder of inputs) {
    const input = await realpath(folder).catch(() => resolve(folder));
    if (input === target)
      throw bad(`outputDir ${outputDir} is an input of the merge.`, 'Give another folder.');
    if (isInside(target, input))
      throw bad(`outputDir ${outputDir} lies in the input ${folder}.`, 'Give a folder beside it.');
    if (isInside(input, target))
      throw bad(`outputDir ${outputDir} holds the input ${folder}.`, 'Give another folder.');
  }
  return target;
}

const isInside = (path: string, folder: string): boolean => {
  const way = relative(folder, path);
  return way !== '' && way !== '..' && !/^\.\.[/\\]/.test(way) && resolve(folder, way) === path;
};

/**
 * @throws MERGE_OUTPUT for a folder that is there: without `overwrite`, or where it holds no model
 */
export async function checkReplaceable(target: string, overwrite: boolean): Promise<void> {
  const entries = (await statOf(target)) ? await readdir(target) : [];
  if (entries.length === 0) return;
  if (!overwrite)
    throw bad(
      `outputDir ${target} is there already, with ${entries.length} files.`,
      'Give another folder, or replace it by overwrite: true (--overwrite).',
    );
  if (!entries.some((name) => name === 'config.json' || name.endsWith('.safetensors')))
    throw bad(
      `outputDir ${target} holds no model (${entries.slice(0, 3).join(', ')}), so it is not replaced.`,
      'Give another folder, or delete that one yourself.',
    );
}
