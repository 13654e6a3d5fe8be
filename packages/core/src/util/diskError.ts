import type { SystemError } from '#platform';
import { AttuneError } from './errors.js';

const reasons: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EPERM: 'the operation is not permitted',
  EROFS: 'the file system is read-only',
  ENOSPC: 'no space is left on the device',
  EDQUOT: 'the disk quota is used up',
  EFBIG: 'the file is larger than the file system allows',
  ENOTDIR: 'a part of the path is a file, not a folder',
  EISDIR: 'there is a folder of that name',
  EEXIST: 'a file is where a folder must be',
  ENOENT: 'a folder of the path is not there',
  ENAMETOOLONG: 'the name is too long',
  ELOOP: 'the path has too many symbolic links',
  EMFILE: 'this process has too many files open',
  ENFILE: 'the system has too many files open',
  EIO: 'the device failed',
  ESTALE: 'the network file system lost the file',
  EBUSY: 'it is in use',
};

const remedies: Readonly<Record<string, string>> = {
  ENOSPC: 'Free space, or write to another disk.',
  EDQUOT: 'Free space, or write to another disk.',
  EMFILE: 'Raise the limit of open files (ulimit -n).',
  ENFILE: 'Close other programs, or raise the limit of open files.',
};

/** An error of the operating system, as Node's file functions throw it. */
export const isSystemError = (error: unknown): error is SystemError =>
  error instanceof Error &&
  typeof (error as SystemError).syscall === 'string' &&
  /^E[A-Z0-9]+$/.test((error as SystemError).code ?? '');

/**
 * What the system refused while `path` was being written, as an error that names the path and the
 * reason; any other error stays as it is.
 *
 * @returns DISK_WRITE
 */
export function diskError(error: unknown, path: string): unknown {
  // One may be about a part of what is written; the whole has the name that the user knows.
  const cause = AttuneError.isInstance(error) && error.code === 'DISK_WRITE' ? error.cause : error;
  if (!isSystemError(cause)) return error;
  const code = cause.code!;
  return new AttuneError(
    'DISK_WRITE',
    `${path} cannot be written: ${reasons[code] ?? cause.message}${code === 'EEXIST' ? `, ${cause.path}` : ''} (${code}).`,
    {
      remedy: remedies[code] ?? 'Choose a folder that this user can write to.',
      details: { path, reason: code, at: cause.path },
      cause,
    },
  );
}

/** Runs `write`; what the system refuses is {@link diskError}'s. */
export async function writing<T>(path: string, write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (error) {
    throw diskError(error, path);
  }
}
