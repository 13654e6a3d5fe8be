import { constants, type FileHandle, open } from 'node:fs/promises';
import { setTimeout } from 'node:timers/promises';
import { AttuneError, formatBytes } from '@attune/core/util';
import type { MergeConfig } from './mergeConfig.js';
import { type ParseMergeOptions, parseMergeYaml } from './parseMergeYaml.js';
import { MAX_LENGTH } from './yamlTree.js';

const MAX_BYTES = MAX_LENGTH;
/** How long a pipe is left alone, in milliseconds, before it is asked once more. */
const PATIENCE = 10;

/**
 * Reads a config of mergekit from a file, checks it for itself, and knows where each value stands.
 *
 * @throws MERGE_FILE for what is no text file, MERGE_YAML, MERGE_INVALID with all that is wrong
 */
export async function readMergeYaml(
  path: string,
  options: Omit<ParseMergeOptions, 'file'> = {},
): Promise<MergeConfig> {
  return parseMergeYaml(await readText(path), { ...options, file: path });
}

async function readText(path: string): Promise<string> {
  const bytes = await readBytes(path);
  if (bytes.length > MAX_BYTES)
    throw bad(
      `${path} has more than ${formatBytes(MAX_BYTES)}, which is no merge config`,
      'Give the YAML file of a merge.',
    );
  if ((bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff))
    throw bad(`${path} is in UTF-16, expected UTF-8`, 'Save it in UTF-8.');
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    const line = bytes.subarray(0, faultOf(bytes)).filter((byte) => byte === 10).length + 1;
    throw bad(`${path}:${line} has bytes that are no UTF-8`, 'Save it in UTF-8.', cause);
  }
}

/** No more than the limit and one byte: a device has no end. */
async function readBytes(path: string): Promise<Uint8Array> {
  try {
    // A pipe that nobody writes into is empty, and not waited for.
    const file = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
    try {
      const parts: Uint8Array[] = [];
      for (let size = 0; size <= MAX_BYTES; ) {
        const part = new Uint8Array(MAX_BYTES + 1 - size);
        const bytesRead = await readSome(file, part);
        if (bytesRead === 0) break;
        parts.push(part.subarray(0, bytesRead));
        size += bytesRead;
      }
      return Buffer.concat(parts);
    } finally {
      await file.close();
    }
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    const found =
      code === 'ENOENT'
        ? 'does not exist'
        : code === 'EISDIR'
          ? 'is a folder'
          : `cannot be read (${code ?? String(cause)})`;
    throw bad(`${path} ${found}, expected a YAML file`, 'Give the YAML file of a merge.', cause);
  }
}

/** Waits for who writes into a pipe. */
async function readSome(file: FileHandle, part: Uint8Array): Promise<number> {
  for (;;)
    try {
      return (await file.read(part, 0, part.length)).bytesRead;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      await setTimeout(PATIENCE);
    }
}

/** How many bytes from the beginning are text. A prefix may end within a character. */
function faultOf(bytes: Uint8Array): number {
  let [good, bad] = [0, bytes.length];
  while (bad - good > 1) {
    const middle = (good + bad) >> 1;
    try {
      new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(0, middle), { stream: true });
      good = middle;
    } catch {
      bad = middle;
    }
  }
  return good;
}

const bad = (message: string, remedy: string, cause?: unknown): AttuneError =>
  new AttuneError('MERGE_FILE', `${message}.`, {
    remedy,
    ...(cause !== undefined && { cause }),
  });
