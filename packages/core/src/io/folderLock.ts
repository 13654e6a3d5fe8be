import {
  hostname,
  isProcessAlive,
  link,
  lstat,
  processId,
  processStart,
  readFile,
  rename,
  rm,
  type SystemError,
  writeFile,
} from '#platform';
import { AttuneError } from '../util/errors.js';
import { isPlainObject } from '../util/json.js';
import type { Logger } from '../util/logger.js';
import { readText } from './readText.js';

/** A lock has some 200. */
const MAX_BYTES = 2 ** 16;

interface Holder {
  readonly pid: number;
  readonly host: string;
  /** When the lock was taken, ISO 8601. */
  readonly since: string;
  /** When the process began, in the system's own ticks; null where the system does not say. */
  readonly processStart: string | null;
  readonly token: string;
}

/** What a lock keeps others out of, and how errors say so. */
export interface LockUse {
  /** The folder that is locked, as the user gave it. */
  readonly folder: string;
  /** What its holder does: "training". */
  readonly doing: string;
}

/**
 * Keeps two processes out of one folder: a file that names the process. A process that was killed
 * leaves it behind; the next one on that host sees that it is gone, and takes the lock over.
 */
export class FolderLock implements AsyncDisposable {
  private constructor(
    private readonly file: string,
    private readonly token: string,
  ) {}

  /**
   * @param file the lock, in a folder that is there
   * @throws OUTPUT_DIR_IN_USE; what the file system refuses
   */
  static async take(file: string, use: LockUse, logger: Logger): Promise<FolderLock> {
    const token = crypto.randomUUID();
    const me: Holder = {
      pid: processId,
      host: hostname(),
      since: new Date().toISOString(),
      processStart: await processStart(processId),
      token,
    };
    while (!(await createWhole(file, `${JSON.stringify(me)}\n`))) {
      const text = await readLock(file, use);
      if (text === null) continue;
      const holder = parse(text);
      if (holder && !(await isGone(holder))) throw inUse(file, use, holder);
      if (await takeAway(file, text))
        logger.warn(
          `${use.folder}: the lock of ${holder ? `process ${holder.pid}, which is no more (since ${holder.since})` : 'a process that died while it wrote it'}, is taken over`,
        );
    }
    return new FolderLock(file, token);
  }

  /** Releases it, unless it is another's by now. */
  async [Symbol.asyncDispose](): Promise<void> {
    const text = await readFile(this.file, 'utf8').catch(() => '');
    if (parse(text)?.token === this.token) await rm(this.file, { force: true });
  }
}

/** Creates the file with all of its content at once. @returns false where there is one already */
async function createWhole(file: string, content: string): Promise<boolean> {
  const beside = `${file}.${crypto.randomUUID()}`;
  try {
    await writeFile(beside, content, { flag: 'wx' });
    await link(beside, file).catch((error: SystemError) => {
      if (error.code === 'EEXIST') throw error;
      return writeFile(file, content, { flag: 'wx' }); // a file system without links
    });
    return true;
  } catch (error) {
    if ((error as SystemError).code === 'EEXIST') return false;
    throw error;
  } finally {
    await rm(beside, { force: true });
  }
}

/** null: it was released in between. @throws OUTPUT_DIR_IN_USE for what is no file of text */
async function readLock(file: string, { doing }: LockUse): Promise<string | null> {
  try {
    return await readText(file, {
      code: 'OUTPUT_DIR_IN_USE',
      label: 'the lock ',
      remedy: `If nothing is ${doing} into that folder, delete ${file}.`,
      maxBytes: MAX_BYTES,
    });
  } catch (error) {
    const { code } = ((error as Error).cause ?? {}) as SystemError;
    // A link to nothing is there and cannot be read: one would try for ever.
    const isLink = (await lstat(file).catch(() => null))?.isSymbolicLink() === true;
    if (code !== 'ENOENT' || isLink) throw error;
    return null;
  }
}

/**
 * Removes the lock that says `text`.
 *
 * @returns false when another run was quicker: then its lock stays
 */
async function takeAway(file: string, text: string): Promise<boolean> {
  const away = `${file}.${crypto.randomUUID()}`;
  try {
    await rename(file, away);
  } catch {
    return false;
  }
  const isIt = (await readFile(away, 'utf8')) === text;
  if (!isIt) await link(away, file).catch(() => undefined);
  await rm(away, { force: true });
  return isIt;
}

function parse(text: string): Holder | null {
  try {
    const holder: unknown = JSON.parse(text);
    if (!isPlainObject(holder) || typeof holder.host !== 'string') return null;
    return Number.isInteger(holder.pid) && (holder.pid as number) > 0
      ? (holder as unknown as Holder)
      : null;
  } catch {
    return null;
  }
}

/** Whether the process is known to be no more: of another host that cannot be known. */
async function isGone({ pid, host, processStart: start }: Holder): Promise<boolean> {
  if (host !== hostname()) return false;
  if (!isProcessAlive(pid)) return true;
  // Its number may be another's by now, in containers above all.
  const now = await processStart(pid);
  return start !== null && now !== null && start !== now;
}

const inUse = (
  file: string,
  { folder, doing }: LockUse,
  { pid, host, since }: Holder,
): AttuneError =>
  new AttuneError(
    'OUTPUT_DIR_IN_USE',
    `${folder} is in use: process ${pid} on ${host} has been ${doing} into it since ${since}.`,
    {
      remedy: `Wait for it, or give each an outputDir of its own. If that process is gone, delete ${file}.`,
      details: { folder, pid, host, since },
    },
  );
