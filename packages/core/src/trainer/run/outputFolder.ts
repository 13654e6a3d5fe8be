import { dirname, join, relative, resolve } from '#platform';
import { FolderLock } from '../../io/folderLock.js';
import type { Resume } from '../../training/arguments/choices.js';
import { writing } from '../../util/diskError.js';
import { AttuneError } from '../../util/errors.js';
import type { Logger } from '../../util/logger.js';
import {
  checkWhole,
  clearInterruptedSaves,
  forgetLatestRun,
  lastCheckpoint,
  listCheckpoints,
  rotateCheckpoints,
  writeLatestRun,
} from './checkpoint/checkpointFolders.js';
import { type RunIdentity, runOf } from './checkpoint/checkpointManifest.js';
import { tryFolder } from './outputProbe.js';

const LOCK_FILE = '.attune.lock';

/**
 * The folder of a run while it trains: which run that is, where it begins, and which checkpoints
 * are its own.
 *
 * A run has an identity, which its checkpoints carry. It goes on with it when it is resumed from
 * its latest checkpoint; resumed from an earlier one, or started anew, it is another run.
 */
export class OutputFolder implements AsyncDisposable {
  #isClaimed = false;

  private constructor(
    readonly path: string,
    readonly run: RunIdentity,
    /** The checkpoint to start from; null: the beginning. */
    readonly start: string | null,
    private readonly logger: Logger,
    private readonly lock: FolderLock | null,
  ) {}

  /** Tried, and kept from other runs: false for a run that means to save nothing. */
  get isOpen(): boolean {
    return this.lock !== null;
  }

  /**
   * @param saves whether the run means to save: then the folder is made, tried, and kept from other
   *   runs
   * @param resume true: the latest whole checkpoint of the run that used the folder last;
   *   "if-present": so, or anew where there is none; a folder: that one; false: anew
   * @throws CHECKPOINT_NONE, CHECKPOINT_TORN, OUTPUT_DIR_IN_USE, DISK_WRITE
   */
  static async open(
    path: string,
    { saves, resume }: { readonly saves: boolean; readonly resume: Resume },
    logger: Logger,
  ): Promise<OutputFolder> {
    if (saves) await tryFolder(path);
    const lock = saves
      ? await writing(path, () =>
          FolderLock.take(join(path, LOCK_FILE), { folder: path, doing: 'training' }, logger),
        )
      : null;
    try {
      if (lock) await clearInterruptedSaves(path, logger);
      const start = await findStart(path, resume, logger);
      const folder = new OutputFolder(path, await identityFor(start), start, logger, lock);
      if (lock) await folder.claim();
      return folder;
    } catch (error) {
      await lock?.[Symbol.asyncDispose]();
      throw error;
    }
  }

  /**
   * As a rank that writes nothing knows it.
   *
   * @param run, start what the rank that writes has found
   */
  static follow(
    path: string,
    run: RunIdentity,
    start: string | null,
    logger: Logger,
  ): OutputFolder {
    return new OutputFolder(path, run, start, logger, null);
  }

  /**
   * Makes this the run that used the folder last; says which checkpoints of others are there.
   * Before the first save.
   */
  async claim(): Promise<void> {
    if (this.#isClaimed) return;
    this.#isClaimed = true;
    const { path, run, start } = this;
    const others = [];
    for (const checkpoint of await listCheckpoints(path))
      if ((await runOf(checkpoint.folder))?.id !== run.id) others.push(checkpoint);
    // Where all checkpoints are its own they say so themselves.
    if (others.length === 0) return forgetLatestRun(path);
    await writeLatestRun(path, { ...run, from: start && resolve(start) });
    if (start && (await runOf(start))?.id === run.id) return;
    this.logger.warn(
      `${path} has checkpoints of other runs (${named(path, others)}). They stay, and saveTotalLimit does not count them; one is replaced where this run saves under its number.`,
    );
  }

  /** @param written the checkpoint just written */
  rotate(written: string, limit: number | null, best: string | null): Promise<void> {
    return rotateCheckpoints(this.path, this.run, written, limit, best);
  }

  /** Lets other runs in. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.lock?.[Symbol.asyncDispose]();
  }
}

async function findStart(path: string, resume: Resume, logger: Logger): Promise<string | null> {
  if (resume === false) return null;
  if (resume !== true && resume !== 'if-present') {
    await checkWhole(resume);
    return resume;
  }
  const found = await lastCheckpoint(path, logger);
  if (found !== null) return found;
  if (resume === 'if-present') {
    logger.info(`${path} has no checkpoint to go on from: the run starts anew`);
    return null;
  }
  const others = await listCheckpoints(path);
  throw new AttuneError(
    'CHECKPOINT_NONE',
    `${path} has no whole checkpoint to resume from.${others.length > 0 ? ` What lies there (${named(path, others)}) is damaged, or of another run than the last one.` : ''}`,
    {
      remedy:
        others.length > 0
          ? 'Pass the folder of the checkpoint that is meant; or resumeFromCheckpoint: "if-present" to start anew.'
          : 'Check outputDir, or pass resumeFromCheckpoint: "if-present" to start anew where there is none.',
    },
  );
}

/** The run that wrote the checkpoint, if it has no later one; else a new one. */
async function identityFor(start: string | null): Promise<RunIdentity> {
  const run = start && (await runOf(start));
  if (run && (await isLatest(start, run))) return run;
  return { id: crypto.randomUUID(), started: new Date().toISOString() };
}

async function isLatest(checkpoint: string, run: RunIdentity): Promise<boolean> {
  const siblings = (await listCheckpoints(dirname(resolve(checkpoint)))).reverse();
  for (const { folder } of siblings) {
    if (folder === resolve(checkpoint)) break;
    if ((await runOf(folder))?.id === run.id) return false;
  }
  return true;
}

function named(path: string, checkpoints: readonly { readonly folder: string }[]): string {
  const names = checkpoints.map(({ folder }) => relative(path, folder));
  return names.length > 3
    ? `${names.slice(0, 2).join(', ')}, ..., ${names.at(-1)}`
    : names.join(', ');
}
