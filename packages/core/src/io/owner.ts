import { createHash, hostname, isProcessAlive, processId, stat } from '#platform';
import { randomHex } from '../util/byteArrays.js';

const host = (): string => createHash('sha1').update(hostname()).digest('hex').slice(0, 8);

/**
 * What the name of a temporary file ends with: which process of which machine writes it, and a
 * number of its own.
 */
export const ownerTag = (): string => `${host()}-${processId}-${randomHex(4)}`;

/** The form of `ownerTag`, to put into patterns of names. */
export const ownerPattern = '[0-9a-f]{8}-\\d+-[0-9a-f]{8}';

/** As `ownerTag`, of nobody: what ends with it may be taken by anyone. */
export const orphanTag = (): string => `${host()}-0-${randomHex(4)}`;

/**
 * Whether the process that wrote a temporary file is known to be no more. A process of another
 * machine is not known to be.
 *
 * @param path ends with an `ownerTag`
 * @param file whose time is that of the writing. Default the path
 */
export async function isOrphan(path: string, file = path): Promise<boolean> {
  const [, machine, pid] = /([0-9a-f]{8})-(\d+)-[0-9a-f]{8}$/.exec(path) ?? [];
  if (machine !== host()) return false;
  if (Number(pid) !== processId) return Number(pid) === 0 || !isProcessAlive(Number(pid));
  // Ours, or of a process before that had the same number, as in containers.
  const found = await stat(file).catch(() => null);
  return found !== null && found.mtimeMs < performance.timeOrigin;
}

/** @param path with an `ownerTag` in it */
export const isOfThisMachine = (path: string): boolean => path.includes(`-${host()}-`);
