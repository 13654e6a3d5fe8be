import {
  basename,
  dirname,
  type FileHandle,
  join,
  lstat,
  mkdir,
  open,
  readdir,
  rename,
  resolve,
  rm,
  type SystemError,
} from '#platform';
import { writing } from '../util/diskError.js';
import { isOrphan, ownerPattern, ownerTag } from './owner.js';

/** A folder, with those around it that are missing. One that is there stays as it is. */
export async function makeFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true });
}

/**
 * A file is either the old one or the whole new one, also after a crash: written beside its place,
 * fsynced, renamed. Makes the folder if it is missing.
 *
 * @param contents the bytes, or a function that writes them
 * @throws DISK_WRITE for what the system refuses
 */
export function writeFileAtomic(path: string, contents: Contents): Promise<void> {
  return writing(path, () => replaceFile(path, contents));
}

type Contents = string | Uint8Array | ((file: FileHandle) => Promise<void>);

async function replaceFile(path: string, contents: Contents): Promise<void> {
  const folder = dirname(resolve(path));
  await mkdir(folder, { recursive: true });
  await clearOrphans(path);
  const temporary = temporaryName(path);
  try {
    const file = await open(temporary, 'wx');
    try {
      if (typeof contents === 'function') await contents(file);
      else await file.writeFile(contents);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncFolder(folder);
}

/**
 * A folder is there whole or not at all: `write` fills a temporary sibling, which is fsynced and
 * renamed into place. A folder that is already there is replaced; if the process dies between the
 * two renames, the old one survives under its `.old-` name.
 *
 * @param write receives the temporary folder
 * @throws DISK_WRITE for what the system refuses
 */
export function writeFolderAtomic(
  folder: string,
  write: (temporary: string) => Promise<void>,
): Promise<void> {
  return writing(folder, () => replaceFolder(folder, write));
}

async function replaceFolder(
  folder: string,
  write: (temporary: string) => Promise<void>,
): Promise<void> {
  const parent = dirname(resolve(folder));
  await mkdir(parent, { recursive: true });
  await clearOrphans(folder);
  const temporary = temporaryName(folder);
  const old = temporaryName(folder, 'old');
  try {
    await mkdir(temporary);
    await write(temporary);
    await syncTree(temporary);
    const replaced = await moveIfThere(folder, old);
    try {
      await rename(temporary, folder);
    } catch (error) {
      if (replaced) await rename(old, folder);
      throw error;
    }
    await syncFolder(parent);
    if (replaced) await rm(old, { recursive: true, force: true });
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw error;
  }
}

/** `.name.tmp-...` beside `path`: hidden, so that nobody takes it for the finished thing. */
function temporaryName(path: string, kind = 'tmp'): string {
  const full = resolve(path);
  return join(dirname(full), `.${basename(full)}.${kind}-${ownerTag()}`);
}

const orphan = new RegExp(`^(tmp|old)-${ownerPattern}$`);

/**
 * Clears away what processes that died left beside a file or folder: what was half-written goes;
 * what was just being replaced comes back.
 */
async function clearOrphans(path: string): Promise<void> {
  const full = resolve(path);
  const prefix = `.${basename(full)}.`;
  for (const name of await readdir(dirname(full))) {
    if (!name.startsWith(prefix)) continue;
    const [, kind] = orphan.exec(name.slice(prefix.length)) ?? [];
    const left = join(dirname(full), name);
    if (kind === undefined || !(await isOrphan(left))) continue;
    const isThere = await lstat(full).catch(() => null);
    if (kind === 'old' && !isThere) await rename(left, full);
    else await rm(left, { recursive: true, force: true });
  }
}

async function moveIfThere(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (error) {
    if ((error as SystemError).code === 'ENOENT') return false;
    throw error;
  }
}

/** Makes all files below a folder durable. */
export async function syncTree(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) await syncTree(path);
    else if (entry.isFile()) await syncPath(path);
  }
  await syncFolder(folder);
}

async function syncPath(path: string): Promise<void> {
  const file = await open(path, 'r+');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Makes a rename durable. Windows cannot open folders: there the rename is all we have. */
export async function syncFolder(folder: string): Promise<void> {
  try {
    const handle = await open(folder, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch (error) {
    const { code } = error as SystemError;
    if (code !== 'EPERM' && code !== 'EISDIR' && code !== 'EACCES' && code !== 'EINVAL')
      throw error;
  }
}
