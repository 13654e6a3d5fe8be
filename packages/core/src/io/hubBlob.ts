import {
  basename,
  createHash,
  dirname,
  join,
  mkdir,
  open,
  readdir,
  readParts,
  rename,
  rm,
  stat,
} from '#platform';
import { AttuneError } from '../util/errors.js';
import type { HubHttp } from './hubHttp.js';
import type { RemoteFile } from './hubListing.js';
import { isOrphan, ownerPattern, ownerTag } from './owner.js';

/** After so many new bytes a connection that breaks counts as the first to do so. */
const PROGRESS_BYTES = 2 ** 20;

/**
 * Fetches a file into its place among the blobs. It comes in under a name of its own, so that
 * others who fetch it at the same time are not in the way; what a process that died left is gone on
 * with.
 *
 * @param path of the file on the server
 * @param onBytes told how many bytes there are
 * @throws HUB_CORRUPT when it has another size or hash than is listed
 */
export async function fetchBlob(
  http: HubHttp,
  path: string,
  file: RemoteFile,
  blob: string,
  onBytes: (bytesDone: number) => void,
): Promise<void> {
  await mkdir(dirname(blob), { recursive: true });
  const own = `${blob}.incomplete-${ownerTag()}`;
  await adopt(blob, own);
  let before = await sizeOf(own);
  try {
    await http.retry(
      () => append(http, path, file, own, onBytes),
      async () => {
        const size = await sizeOf(own);
        const progressed = size > before + PROGRESS_BYTES;
        before = size;
        return progressed;
      },
    );
  } catch (error) {
    // Kept for the next time, unless it is known to be wrong.
    if (AttuneError.isInstance(error)) await rm(own, { force: true });
    else await rename(own, `${blob}.incomplete`).catch(() => undefined);
    throw error;
  }
  const found = await contentHash(own, file);
  if (found !== file.hash) {
    await rm(own, { force: true });
    throw corrupt(file, `arrived with hash ${found}, expected ${file.hash}`);
  }
  await rename(own, blob);
}

/** Takes what is there of a file and nobody writes any more: renaming it, only one process can. */
async function adopt(blob: string, own: string): Promise<void> {
  const folder = dirname(blob);
  const left = new RegExp(`^${basename(blob)}\\.incomplete(-${ownerPattern})?$`);
  for (const name of (await readdir(folder)).sort()) {
    const path = join(folder, name);
    if (!left.test(name) || (!name.endsWith('.incomplete') && !(await isOrphan(path)))) continue;
    if ((await sizeOf(path)) > (await sizeOf(own)))
      await rename(path, own).catch(() => undefined); // another was quicker
    else await rm(path, { force: true });
  }
}

/** Adds to `own` what it lacks of the file. @throws when the connection ends before */
async function append(
  http: HubHttp,
  path: string,
  file: RemoteFile,
  own: string,
  onBytes: (bytesDone: number) => void,
): Promise<void> {
  const held = await sizeOf(own);
  const start = held > file.size ? 0 : held;
  if (start === file.size && start > 0) return;
  const body = await http.open(path, start);
  const target = await open(own, body.start > 0 ? 'a' : 'w');
  try {
    let bytesDone = body.start;
    for await (const chunk of body.chunks) {
      bytesDone += chunk.byteLength;
      if (bytesDone > file.size)
        throw corrupt(file, `goes on after the ${file.size} bytes that are listed`);
      await target.writeFile(chunk);
      onBytes(bytesDone);
    }
    if (bytesDone !== file.size)
      throw new Error(`${file.path} ended after ${bytesDone} of ${file.size} bytes`);
  } finally {
    await target.close();
  }
}

const sizeOf = async (path: string): Promise<number> =>
  (await stat(path).catch(() => null))?.size ?? 0;

/** Large files have the sha256, others git's hash: sha1 of "blob <size>\0" and the content. */
async function contentHash(path: string, { isLarge, size }: RemoteFile): Promise<string> {
  const hash = createHash(isLarge ? 'sha256' : 'sha1');
  if (!isLarge) hash.update(`blob ${size}\0`);
  for await (const chunk of readParts(path)) hash.update(chunk);
  return hash.digest('hex');
}

const corrupt = (file: RemoteFile, what: string): AttuneError =>
  new AttuneError('HUB_CORRUPT', `${file.path} ${what}.`, {
    remedy: 'It was deleted; run again to fetch it anew.',
  });
