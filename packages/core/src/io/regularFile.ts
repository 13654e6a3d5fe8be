import { type FileHandle, lstat, open, READ_WITHOUT_WAITING, type SystemError } from '#platform';
import { AttuneError } from '../util/errors.js';

/** How a caller speaks of a file that cannot be opened. */
export interface OpenFileOptions {
  /** Code of the error. */
  readonly code: string;
  /** What the file is in the message, e.g. "data file ". Default none. */
  readonly label?: string;
  readonly remedy: string;
}

/**
 * Opens a file for reading and nothing but a file: a folder, a pipe, a socket or a device is
 * refused at once, because reading one may wait or go on for ever. Links are followed.
 *
 * @throws `code`
 */
export async function openRegular(path: string, options: OpenFileOptions): Promise<FileHandle> {
  const { code, label = '', remedy } = options;
  const refuse = (why: string, cause?: unknown) =>
    new AttuneError(code, `${label}${path} ${why}.`, {
      remedy,
      ...(cause !== undefined && { cause }),
    });
  let file: FileHandle;
  try {
    file = await open(path, READ_WITHOUT_WAITING);
  } catch (cause) {
    const isLink = await lstat(path).then(
      (found) => found.isSymbolicLink(),
      () => false,
    );
    throw refuse(whyNotOpened(cause, isLink), cause);
  }
  const stat = await file.stat();
  if (stat.isFile()) return file;
  await file.close();
  const kind = stat.isDirectory()
    ? 'a folder'
    : stat.isFIFO()
      ? 'a pipe'
      : stat.isSocket()
        ? 'a socket'
        : 'a device';
  throw refuse(`is ${kind}, expected a file`);
}

function whyNotOpened(error: unknown, isLink: boolean): string {
  const { code, message } = error as SystemError;
  switch (code) {
    case 'ENOENT':
      return isLink ? 'is a link to something that does not exist' : 'does not exist';
    case 'ENOTDIR':
      return 'does not exist: a part of its path is a file';
    case 'EISDIR':
      return 'is a folder, expected a file';
    case 'EACCES':
    case 'EPERM':
      return 'may not be read by this user';
    case 'ELOOP':
      return 'is a link that leads back to itself';
    case 'ENXIO':
      return 'is a socket or a device, expected a file';
    case 'ENAMETOOLONG':
      return 'is longer than a path may be';
    case 'ERR_INVALID_ARG_VALUE':
      return 'has a NUL character in its path';
    default:
      return `cannot be opened: ${code ?? message}`;
  }
}
