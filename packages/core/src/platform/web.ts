import { AttuneError } from '../util/errors.js';
import {
  basename as basenameOf,
  dirname as dirnameOf,
  join as joinParts,
  relative as relativeTo,
  resolve as resolveParts,
} from './posixPath.js';
import type { Platform, PlatformFacts } from './types.js';

export type * from './types.js';

/** A browser cannot do it. @throws PLATFORM_UNSUPPORTED */
const absent = (what: string) => (): never => {
  throw new AttuneError('PLATFORM_UNSUPPORTED', `${what} is not there in a browser.`, {
    remedy: 'Run this part in Node, or give what it would read as values.',
  });
};

/** As {@link absent}, of what answers with a promise. */
const absentLater = (what: string) => async (): Promise<never> => absent(what)();

const platform: Platform = {
  readFile: absentLater('reading files'),
  writeFile: absentLater('writing files'),
  appendFile: absentLater('writing files'),
  copyFile: absentLater('copying files'),
  open: absentLater('opening files'),
  // biome-ignore lint/correctness/useYield: it throws where it is first asked.
  async *readParts() {
    absent('reading files')();
  },
  stat: absentLater('the file system'),
  lstat: absentLater('the file system'),
  link: absentLater('the file system'),
  symlink: absentLater('the file system'),
  rename: absentLater('the file system'),
  rm: absentLater('the file system'),
  utimes: absentLater('the file system'),
  mkdir: absentLater('the file system'),
  readdir: absentLater('the file system'),
  statfs: absentLater('the file system'),
  hubCacheFolder: absent('a folder for what was fetched'),
  currentFolder: () => '/',

  join: joinParts,
  dirname: dirnameOf,
  basename: basenameOf,
  relative: relativeTo,
  resolve: resolveParts,

  createHash: absent('a hash without waiting'),
  isUtf8(bytes) {
    try {
      new TextDecoder('utf-8', { fatal: true }).decode(bytes);
      return true;
    } catch {
      return false;
    }
  },

  hostname: () => 'browser',
  isProcessAlive: () => false,
  processStart: async () => null,
  onEndSignal: () => () => undefined,
  afterMs(milliseconds, fn) {
    const timer = setTimeout(fn, milliseconds);
    return () => clearTimeout(timer);
  },
  // Unlike a timer, a message is not held back for four milliseconds.
  nextTurn(fn) {
    const { port1, port2 } = new MessageChannel();
    port1.addEventListener('message', () => {
      port1.close();
      fn();
    });
    port1.start();
    port2.postMessage(null);
  },
  outputHasColors: () => false,
};

const lines = (print: (text: string) => void) => ({
  write: (text: string) => print(text.replace(/\n$/, '')),
});

const facts: PlatformFacts = {
  sep: '/',
  processId: 0,
  maxStringLength: 2 ** 29 - 24,
  READ_WITHOUT_WAITING: 'r',
  standardOutput: lines((text) => console.log(text)),
  standardError: lines((text) => console.error(text)),
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
