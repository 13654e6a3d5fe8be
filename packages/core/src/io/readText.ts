import { formatBytes } from '../util/bytes.js';
import { AttuneError } from '../util/errors.js';
import { decodeUtf8, hasBom, otherFormat } from '../util/utf8.js';
import { type OpenFileOptions, openRegular } from './regularFile.js';

export interface ReadTextOptions extends OpenFileOptions {
  /** Code of the error when the file is there and is no such text. Default `code`. */
  readonly invalidCode?: string;
  /** Largest file: no real one comes near, and a wrong one may not cost memory. Default 16 MiB. */
  readonly maxBytes?: number;
}

const DEFAULT_MAX_BYTES = 2 ** 24;

/**
 * A small text file, read whole: UTF-8 without a byte order mark, nothing replaced by U+FFFD.
 *
 * @throws `code` when it cannot be opened or is no file; `invalidCode` for other encodings and
 *   formats, and above `maxBytes`
 */
export async function readText(path: string, options: ReadTextOptions): Promise<string> {
  const { invalidCode = options.code, label = '', remedy } = options;
  const { maxBytes = DEFAULT_MAX_BYTES } = options;
  const invalid = (what: string, cause?: unknown) =>
    new AttuneError(invalidCode, `${label}${path} ${what}.`, {
      remedy,
      ...(cause !== undefined && { cause }),
    });
  const file = await openRegular(path, options);
  try {
    const { size } = await file.stat();
    if (size > maxBytes)
      throw invalid(`has ${formatBytes(size)}; at most ${formatBytes(maxBytes)} are read`);
    const buffer = new Uint8Array(size);
    let length = 0;
    while (length < size) {
      const { bytesRead } = await file.read(buffer, length, size - length, length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    const bytes = buffer.subarray(0, length);
    const other = otherFormat(bytes);
    if (other !== null) throw invalid(`is ${other}, expected UTF-8 text`);
    if (hasBom(bytes))
      throw invalid('begins with a byte order mark, expected UTF-8 text without one');
    try {
      return decodeUtf8(bytes);
    } catch (cause) {
      throw invalid(`is not UTF-8 text: ${(cause as Error).message}`, cause);
    }
  } catch (error) {
    if (AttuneError.isInstance(error)) throw error;
    throw invalid(`cannot be read: ${String(error)}`, error);
  } finally {
    await file.close();
  }
}
