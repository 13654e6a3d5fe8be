import {
  basename,
  dirname,
  join,
  lstat,
  mkdir,
  readdir,
  rename,
  rm,
  type SystemError,
  sep,
  stat,
  utimes,
} from '#platform';
import { writing } from '../util/diskError.js';
import { AttuneError } from '../util/errors.js';
import { syncFolder, syncTree, writeFileAtomic } from './atomic.js';
import { isOfThisMachine, isOrphan, orphanTag, ownerPattern, ownerTag } from './owner.js';
import { readText } from './readText.js';
import { replacedTogether } from './savedFiles.js';

/**
 * New files of a save, before they are moved into their places; the journal beside them ends with
 * .json.
 */
const STAGING = '.attune-save-';
const staging = new RegExp(`^\\${STAGING}${ownerPattern}$`);
const journal = new RegExp(`^\\${STAGING}(${ownerPattern})\\.json$`);

/**
 * The files without which nobody takes a folder for a model, an adapter or a tokenizer: they go
 * first, in this order, and come last, the first of them at the very end.
 */
const keys: readonly string[] = ['config.json', 'adapter_config.json', 'tokenizer.json'];

/**
 * Replaces files of a folder all together, or none: whatever kills the process, the folder gives
 * the old ones or, from a moment on, the new ones. Files of others in it stay; old files of the
 * same kind that the new save does not have go (shards, an old generation_config.json).
 *
 * `write` fills a folder within the folder. When all is there and synced, a journal is written:
 * from then on the save counts, and whoever opens the folder (`finishSave`) completes it. While
 * files are moved, the config files are missing, so that no other library takes half of a save for
 * the whole.
 *
 * @param write receives the folder to write into; saves may be nested
 * @throws DISK_WRITE for what the system refuses, SAVE_INTERRUPTED
 */
export function saveWhole(
  folder: string,
  write: (temporary: string) => Promise<void>,
): Promise<void> {
  return writing(folder, () => replaceFiles(folder, write));
}

async function replaceFiles(
  folder: string,
  write: (temporary: string) => Promise<void>,
): Promise<void> {
  await mkdir(folder, { recursive: true });
  await finishSave(folder);
  await clearOrphans(folder);
  const temporary = join(folder, STAGING + ownerTag());
  await mkdir(temporary);
  try {
    await write(temporary);
    await syncTree(temporary);
    await commit(temporary, folder);
  } catch (error) {
    // Once the journal is there, what is missing is moved when the folder is opened: by anyone.
    const path = `${temporary}.json`;
    if (await stat(path).catch(() => null))
      await rename(path, join(folder, `${STAGING}${orphanTag()}.json`));
    else await rm(temporary, { recursive: true, force: true });
    throw error;
  }
}

/** How often, and how long in ms each time, one waits for another process that is moving files. */
const PATIENCE = { times: 200, ms: 50 };

/**
 * Completes a save of a process that died while it moved files into a folder, before the folder is
 * read. One that is still at work is waited for: it takes milliseconds.
 *
 * @throws SAVE_INTERRUPTED where files cannot be moved, or the other process does not come to an
 *   end
 */
export async function finishSave(folder: string): Promise<void> {
  for (let times = 0; ; times++) {
    const name = (await readdir(folder).catch(() => [])).find((entry) => journal.test(entry));
    if (name === undefined) return;
    const path = join(folder, name);
    // A link to nothing would be tried for ever; the target of another one would be touched.
    const found = await lstat(path).catch(() => null);
    if (found?.isFile() === false) throw noJournal(path);
    try {
      if (await isLeft(path)) {
        // Renamed, it is ours: of several that find it only one goes on. Its time says that it is
        // of now.
        const own = join(folder, `${STAGING}${ownerTag()}.json`);
        await utimes(path, new Date(), new Date());
        await rename(path, own);
        await move(folder, own);
        continue;
      }
    } catch (cause) {
      if ((cause as SystemError).code === 'ENOENT') continue;
      if (AttuneError.isInstance(cause)) throw cause;
      throw interrupted(folder, `cannot be completed here (${(cause as Error).message})`, cause);
    }
    if (times === PATIENCE.times)
      throw interrupted(folder, 'is still at work, as its journal says', undefined);
    await new Promise((done) => setTimeout(done, PATIENCE.ms));
  }
}

/** Moving takes milliseconds: of another machine, what is older is of a process that died. */
const OLD_MS = 60_000;

async function isLeft(path: string): Promise<boolean> {
  if (await isOrphan(path.slice(0, -'.json'.length), path)) return true;
  const { mtimeMs } = await stat(path);
  return !isOfThisMachine(path) && mtimeMs < Date.now() - OLD_MS;
}

/** The one folder in a folder that belongs to a save. */
const TEMPLATES = 'additional_chat_templates';

/** What is to be moved. */
interface Journal {
  /** The folder in the folder. */
  readonly from: string;
  /** Below it. */
  readonly files: readonly string[];
  /** Files of before that do not belong to the new ones. */
  readonly remove: readonly string[];
}

async function commit(temporary: string, folder: string): Promise<void> {
  const { files, adapters } = await listFiles(temporary);
  // Adapters in subfolders are read each by itself, so each is a save of its own.
  for (const name of adapters) {
    const target = join(folder, name);
    await mkdir(target, { recursive: true });
    await finishSave(target);
    const own = join(target, STAGING + ownerTag());
    await rename(join(temporary, name), own);
    await commit(own, target);
  }
  const inner = (name: string) => readdir(join(folder, name)).catch(() => []);
  const there = [
    ...(await readdir(folder)),
    ...(await inner(TEMPLATES)).map((name) => `${TEMPLATES}/${name}`),
  ];
  const remove = replacedTogether(there, files);
  const journal: Journal = { from: basename(temporary), files, remove };
  await writeFileAtomic(`${temporary}.json`, JSON.stringify(journal));
  await move(folder, `${temporary}.json`);
}

/** Moves what is still to be moved: from any point of an earlier attempt on. */
async function move(folder: string, path: string): Promise<void> {
  const { from, files, remove } = parseJournal(await readJournal(path), path);
  const temporary = join(folder, from);
  const left: string[] = [];
  for (const file of files)
    if (await stat(join(temporary, file)).catch(() => null)) left.push(file);
  const leftKeys = keys.filter((name) => left.includes(name));
  for (const file of leftKeys) await rm(join(folder, file), { force: true });
  await syncFolder(folder);
  for (const file of remove) await rm(join(folder, file), { force: true });
  for (const file of [...left.filter((name) => !keys.includes(name)), ...leftKeys.reverse()]) {
    const target = join(folder, file);
    if (file.includes('/')) await mkdir(dirname(target), { recursive: true });
    await rename(join(temporary, file), target);
  }
  await syncFolder(folder);
  await rm(path, { force: true });
  await rm(temporary, { recursive: true, force: true });
}

/**
 * Files below a folder, with "/" between the parts of their paths; folders of adapters are not
 * entered.
 */
async function listFiles(folder: string): Promise<{ files: string[]; adapters: string[] }> {
  const files: string[] = [];
  const adapters: string[] = [];
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (!entry.isDirectory()) files.push(entry.name);
    else {
      const inner = await listFiles(join(folder, entry.name));
      if (inner.files.includes('adapter_config.json')) adapters.push(entry.name);
      else files.push(...inner.files.map((file) => `${entry.name}/${file}`));
    }
  }
  return { files: files.sort(), adapters };
}

/** A journal names every file of a save. */
const readJournal = (path: string): Promise<string> =>
  readText(path, {
    code: 'SAVE_INTERRUPTED',
    remedy: 'Delete it if you do not know where it comes from.',
  });

/** Files that processes which died left while they wrote. */
async function clearOrphans(folder: string): Promise<void> {
  const left = new RegExp(`^\\..+\\.tmp-${ownerPattern}$`);
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    if (!(staging.test(name) || left.test(name)) || !(await isOrphan(path))) continue;
    // One whose process died this very moment still counts.
    if (!(await stat(`${path}.json`).catch(() => null)))
      await rm(path, { recursive: true, force: true });
  }
}

/** A journal is ours; one that leads out of its folder is not. */
function parseJournal(text: string, path: string): Journal {
  const isInside = (file: unknown): file is string =>
    typeof file === 'string' &&
    !file.includes(sep === '\\' ? '\\' : '\0') &&
    file.split('/').every((part) => part !== '' && part !== '.' && part !== '..');
  try {
    const { from, files, remove } = JSON.parse(text) as Journal;
    if (staging.test(from) && [...files, ...remove].every(isInside)) return { from, files, remove };
  } catch {
    // Refused below as what it is.
  }
  throw noJournal(path);
}

const noJournal = (path: string): AttuneError =>
  new AttuneError('SAVE_INTERRUPTED', `${path} is no journal of a save.`, {
    remedy: 'Delete it if you do not know where it comes from.',
  });

const interrupted = (folder: string, what: string, cause: unknown): AttuneError =>
  new AttuneError('SAVE_INTERRUPTED', `${folder}: a save was interrupted, and ${what}.`, {
    remedy: 'Open the folder once where files in it can be moved, or save again.',
    ...(cause !== undefined && { cause }),
  });
