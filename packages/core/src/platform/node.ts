import { constants as bufferConstants, isUtf8 as isUtf8InNode } from 'node:buffer';
import { createHash as createHashInNode } from 'node:crypto';
import { constants, createReadStream } from 'node:fs';
import * as files from 'node:fs/promises';
import { hostname as hostnameInNode } from 'node:os';
import * as paths from 'node:path';
import process from 'node:process';
import { getHFHubCachePath } from '@huggingface/hub';
import type { EndSignal, FileHandle, Platform, PlatformFacts, SystemError } from './types.js';

export type * from './types.js';

const END_SIGNALS: readonly EndSignal[] = ['SIGINT', 'SIGTERM'];

/** A folder and those around it. Not Node's own way, which never comes to an end below /proc. */
async function makeFolders(path: string): Promise<void> {
  const isThere = async () => (await files.stat(path).catch(() => null))?.isDirectory() === true;
  if (await isThere()) return;
  if (paths.dirname(path) !== path) await makeFolders(paths.dirname(path));
  try {
    await files.mkdir(path);
  } catch (error) {
    // Another process may have made it in between.
    if (!(await isThere())) throw error;
  }
}

// Looked up at each call: Node's functions may be exchanged, as tests of full disks do.
const platform: Platform = {
  readFile: (path, encoding) => files.readFile(path, encoding),
  writeFile: (path, data, options) => files.writeFile(path, data, options),
  appendFile: (path, data) => files.appendFile(path, data),
  copyFile: (from, to) => files.copyFile(from, to),
  open: (path, flags): Promise<FileHandle> => files.open(path, flags),
  readParts: (path) => createReadStream(path, { highWaterMark: 2 ** 20 }),
  stat: (path) => files.stat(path),
  lstat: (path) => files.lstat(path),
  link: (path, name) => files.link(path, name),
  symlink: (target, path) => files.symlink(target, path),
  rename: (from, to) => files.rename(from, to),
  rm: (path, options) => files.rm(path, options),
  utimes: (path, read, written) => files.utimes(path, read, written),
  mkdir: (path, options) => (options?.recursive ? makeFolders(path) : files.mkdir(path)),
  readdir: ((path: string, options: object) => files.readdir(path, options)) as Platform['readdir'],
  statfs: (path) => files.statfs(path),
  hubCacheFolder: getHFHubCachePath,
  currentFolder: () => process.cwd(),

  join: paths.join,
  dirname: paths.dirname,
  basename: (path) => paths.basename(path),
  relative: paths.relative,
  resolve: paths.resolve,

  createHash: createHashInNode,
  isUtf8: isUtf8InNode,

  hostname: hostnameInNode,
  isProcessAlive(id) {
    try {
      process.kill(id, 0);
      return true;
    } catch (error) {
      return (error as SystemError).code !== 'ESRCH';
    }
  },
  async processStart(id) {
    // Field 22 of Linux' /proc/PID/stat. The name of the process, in parentheses, may have spaces.
    const stat = await files.readFile(`/proc/${id}/stat`, 'utf8').catch(() => null);
    return stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? null;
  },
  onEndSignal(listener) {
    const handle = (name: NodeJS.Signals): void => listener(name as EndSignal);
    for (const name of END_SIGNALS) process.on(name, handle);
    return () => {
      for (const name of END_SIGNALS) process.off(name, handle);
    };
  },
  afterMs(milliseconds, fn) {
    const timer = setTimeout(fn, milliseconds);
    timer.unref();
    return () => clearTimeout(timer);
  },
  nextTurn: (fn) => void setImmediate(fn),
  outputHasColors: () => process.stdout.isTTY === true && process.stdout.hasColors(),
};

const facts: PlatformFacts = {
  sep: paths.sep,
  processId: process.pid,
  maxStringLength: bufferConstants.MAX_STRING_LENGTH,
  // On Windows there is no such flag.
  READ_WITHOUT_WAITING: constants.O_RDONLY | (constants.O_NONBLOCK ?? 0),
  standardOutput: process.stdout,
  standardError: process.stderr,
};

export const {
  readFile,
  writeFile,
  appendFile,
  copyFile,
  open,
  readParts,
  stat,
  lstat,
  link,
  symlink,
  rename,
  rm,
  utimes,
  mkdir,
  readdir,
  statfs,
  hubCacheFolder,
  currentFolder,
  join,
  dirname,
  basename,
  relative,
  resolve,
  createHash,
  isUtf8,
  hostname,
  isProcessAlive,
  processStart,
  onEndSignal,
  afterMs,
  nextTurn,
  outputHasColors,
} = platform;

export const {
  sep,
  processId,
  maxStringLength,
  READ_WITHOUT_WAITING,
  standardOutput,
  standardError,
} = facts;
