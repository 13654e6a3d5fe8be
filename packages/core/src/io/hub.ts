import { z } from 'zod';
import {
  copyFile,
  currentFolder,
  dirname,
  hubCacheFolder,
  join,
  mkdir,
  relative,
  rename,
  resolve,
  rm,
  type SystemError,
  sep,
  stat,
  symlink,
} from '#platform';
import { randomHex } from '../util/byteArrays.js';
import { describeValue } from '../util/describeValue.js';
import { AttuneError } from '../util/errors.js';
import type { OptionsInput } from '../util/options.js';
import { writeFileAtomic } from './atomic.js';
import { fetchBlob } from './hubBlob.js';
import { HubHttp, HubStatusError, type HubTiming, systemTiming } from './hubHttp.js';
import { commitOf, listFiles, type RemoteFile, type RepoKind } from './hubListing.js';
import { readText } from './readText.js';
import { finishSave } from './saveWhole.js';

const hubShape = {
  /** Branch, tag or commit. Default "main". */
  revision: z.string().optional().meta({ aka: 'branch version' }),
  /**
   * Folder of the cache, shared with Python's huggingface_hub. Default: HF_HUB_CACHE, else
   * HF_HOME/hub, else ~/.cache/huggingface/hub.
   */
  cacheDir: z.string().optional().meta({ aka: 'cache' }),
  /**
   * Access token (`hf_...`) for private and gated repositories; false: none. Default: the one that
   * `hf auth login` stored, for huggingface.co alone.
   */
  token: z
    .union([z.string(), z.literal(false)])
    .optional()
    .meta({ aka: 'usetoken useauthtoken hftoken accesstoken' }),
  /** Ask nobody: take what the cache holds. Default false. */
  localFilesOnly: z.boolean().optional().meta({ aka: 'localonly offline' }),
  /**
   * Another server that speaks the Hub's protocol; `https://user:password@host` for one that asks
   * for a password. Default https://huggingface.co.
   */
  hubUrl: z.string().optional().meta({ aka: 'endpoint' }),
  /** Longest time in ms without a byte before an attempt is given up. Default 30,000. */
  timeoutMs: z.number().optional(),
  /** Called while files come in. Default: nobody is told. */
  onProgress: z
    .custom<(progress: HubProgress) => void>(
      (value) => typeof value === 'function',
      'expected a function',
    )
    .optional()
    .meta({ aka: 'progress progresscallback' }),
};

/** Where a model that is not a folder comes from. Names are those of huggingface_hub. */
export const hubOptions = z.strictObject(hubShape);

/** How a name is looked up on the Hub. */
export type HubOptions = OptionsInput<typeof hubShape>;

/** How far the download of a file is. */
export interface HubProgress {
  readonly file: string;
  readonly bytesDone: number;
  readonly bytesTotal: number;
}

/** What a tokenizer is read from. */
export const TOKENIZER_FILES =
  /^(tokenizer|tokenizer_config|special_tokens_map|added_tokens|config)\.json$|^chat_template\.(jinja|json)$|^additional_chat_templates\/[^/]+\.jinja$/;

/** What a model is read from, its tokenizer included: generation reads stop strings with it. */
export const MODEL_FILES = new RegExp(
  `${TOKENIZER_FILES.source}|^generation_config\\.json$|^model(-\\d{5}-of-\\d{5})?\\.safetensors(\\.index\\.json)?$`,
);

/**
 * The folder of a model: the path itself where it is a folder, else the Hub's repository of that
 * name, fetched into Hugging Face's cache (blobs, snapshots, refs: Python finds there what Attune
 * fetched and the other way round).
 *
 * Only files that match `wanted` are fetched, only those that the cache lacks; a broken download
 * goes on where it stopped; what arrives is compared with the hash that the Hub names. Without a
 * connection the cached snapshot serves.
 *
 * @throws MODEL_NAME, MODEL_FOLDER_MISSING, HUB_NOT_FOUND, HUB_ACCESS, HUB_UNREACHABLE,
 *   HUB_CORRUPT, HUB_PROTOCOL, HUB_TOKEN, HUB_URL
 */
export async function resolveFolder(
  nameOrPath: string,
  wanted: RegExp,
  options: HubOptions = {},
  timing: HubTiming = systemTiming,
): Promise<string> {
  requireName(nameOrPath, 'the folder of a model');
  const found = await stat(nameOrPath).catch(() => null);
  if (found?.isDirectory()) {
    await finishSave(nameOrPath);
    return nameOrPath;
  }
  if (found)
    throw new AttuneError('MODEL_FOLDER_MISSING', `${nameOrPath} is a file, expected a folder.`, {
      remedy: 'Give the folder that holds config.json.',
    });
  if (typeof nameOrPath !== 'string' || !/^[\w-][\w.-]*(\/[\w-][\w.-]*)?$/.test(nameOrPath))
    throw new AttuneError('MODEL_FOLDER_MISSING', `there is no folder "${nameOrPath}".`, {
      remedy: `Check the path; it is taken from ${currentFolder()}.`,
    });
  return fetchRepository(nameOrPath, 'models', (path) => wanted.test(path), options, timing);
}

/**
 * The folder of a data set of the Hub, fetched into Hugging Face's cache as models are.
 *
 * @param name "owner/name"
 * @param wanted which files are fetched, by their paths in the repository. It is asked for each
 *   before the first is fetched, and may throw.
 * @throws HUB_NAME, and what {@link resolveFolder} throws of the Hub
 */
export async function fetchDataset(
  name: string,
  wanted: (path: string, paths: readonly string[]) => boolean,
  options: HubOptions = {},
  timing: HubTiming = systemTiming,
): Promise<string> {
  if (typeof name !== 'string' || !/^[\w-][\w.-]*(\/[\w-][\w.-]*)?$/.test(name))
    throw new AttuneError('HUB_NAME', `${describeValue(name)} is no name of a data set.`, {
      remedy: 'Write it as on the Hub: "owner/name".',
    });
  return fetchRepository(name, 'datasets', wanted, options, timing);
}

async function fetchRepository(
  name: string,
  kind: RepoKind,
  wanted: (path: string, paths: readonly string[]) => boolean,
  options: HubOptions,
  timing: HubTiming,
): Promise<string> {
  const repo = await Repository.open(name, kind, options, timing);
  if (options.localFilesOnly) return repo.cached();
  const listed = await repo.list(wanted).catch((error: unknown) => repo.explain(error));
  if (AttuneError.isInstance(listed)) {
    if (listed.code !== 'HUB_UNREACHABLE') throw listed;
    return repo.cached(listed);
  }
  try {
    return await repo.fetch(listed.sha, listed.files);
  } catch (error) {
    throw repo.explain(error);
  }
}

const DEFAULT_HUB = 'https://huggingface.co';
const DEFAULT_TIMEOUT_MS = 30_000;

/** @throws MODEL_NAME for what is no name of a model */
export function requireName(nameOrPath: unknown, where: string): asserts nameOrPath is string {
  if (typeof nameOrPath === 'string' && nameOrPath.trim() !== '') return;
  throw new AttuneError(
    'MODEL_NAME',
    `${where}: expected a folder or a Hub id, found ${describeValue(nameOrPath)}.`,
    { remedy: "Pass its path first: './models/my-model', or 'owner/name' of the Hub." },
  );
}

class Repository {
  readonly #revision: string;

  private constructor(
    readonly name: string,
    private readonly kind: RepoKind,
    private readonly options: HubOptions,
    /** models--owner--name below the cache. */
    private readonly folder: string,
    private readonly http: HubHttp,
  ) {
    this.#revision = options.revision ?? 'main';
  }

  static async open(
    name: string,
    kind: RepoKind,
    options: HubOptions,
    timing: HubTiming,
  ): Promise<Repository> {
    const cache = options.cacheDir ?? hubCacheFolder();
    const { hubUrl = DEFAULT_HUB, timeoutMs = DEFAULT_TIMEOUT_MS } = options;
    if (!(timeoutMs > 0 && timeoutMs < 2 ** 31))
      throw new AttuneError('HUB_TIMEOUT', `timeoutMs is ${timeoutMs}, expected milliseconds.`, {
        remedy: 'Give a number above 0, or leave it out.',
      });
    const token = await accessToken(options, cache);
    const http = new HubHttp({ hubUrl, token, timeoutMs, timing });
    const folder = join(cache, `${kind}--${name.replace('/', '--')}`);
    return new Repository(name, kind, options, folder, http);
  }

  /** The commit and its files that match. */
  async list(
    wanted: (path: string, paths: readonly string[]) => boolean,
  ): Promise<{ readonly sha: string; readonly files: RemoteFile[] }> {
    this.#ref(); // a bad name is refused before it is asked for
    const sha = await commitOf(this.http, this.name, this.#revision, this.kind);
    const listed = await listFiles(this.http, this.name, sha, this.kind);
    const paths = listed.map(({ path }) => path);
    const files = listed.filter(({ path }) => wanted(path, paths));
    // A repository may hold the weights twice, whole and in shards.
    const hasWhole = files.some(({ path }) => path === 'model.safetensors');
    const isSpare = ({ path }: RemoteFile) => hasWhole && /^model-|\.index\.json$/.test(path);
    return { sha, files: files.filter((file) => !isSpare(file)) };
  }

  /**
   * @returns the snapshot's folder, with every file in it: the links come when all the files are
   *   there
   */
  async fetch(sha: string, files: readonly RemoteFile[]): Promise<string> {
    for (const file of files) await this.#download(file, sha);
    for (const file of files) await this.#link(file, sha);
    if (sha !== this.#revision) await writeFileAtomic(this.#ref(), sha);
    return this.#snapshot(sha);
  }

  /** The snapshot that the cache holds. @throws `failure`, or HUB_NOT_CACHED */
  async cached(failure?: AttuneError): Promise<string> {
    const sha = isCommit(this.#revision) ? this.#revision : await this.#cachedCommit();
    const folder = this.#snapshot(sha);
    if (isCommit(sha) && (await stat(folder).catch(() => null))?.isDirectory()) return folder;
    throw (
      failure ??
      new AttuneError(
        'HUB_NOT_CACHED',
        `${this.#noFolder}the cache (${this.folder}) does not hold revision "${this.#revision}" of that ${this.#what}.`,
        { remedy: 'Leave localFilesOnly out once, with a connection, to fetch it.' },
      )
    );
  }

  /** What the cache says that the revision is; what is no commit is none. */
  async #cachedCommit(): Promise<string> {
    const options = { code: 'HUB_NOT_CACHED', remedy: 'Delete it.', maxBytes: 1000 };
    return (await readText(this.#ref(), options).catch(() => '')).trim();
  }

  get #what(): string {
    return this.kind === 'models' ? 'model' : 'data set';
  }

  /** A model may be a folder; a data set is a name. */
  get #noFolder(): string {
    return this.kind === 'models' ? `there is no folder "${this.name}", and ` : '';
  }

  /** What went wrong, in the words of this package. */
  explain(error: unknown): AttuneError {
    if (AttuneError.isInstance(error)) return error;
    const status = error instanceof HubStatusError ? error.status : null;
    const where = `"${this.name}" (revision "${this.#revision}") at ${this.http.shownUrl}`;
    if (status === 401 || status === 403)
      return new AttuneError('HUB_ACCESS', `${this.#noFolder}the Hub refuses access to ${where}.`, {
        remedy:
          'It may not exist, be private, or ask for its licence to be accepted on its page. Pass token: "hf_...", or run `hf auth login`.',
        cause: error,
      });
    if (status === 404)
      return new AttuneError(
        'HUB_NOT_FOUND',
        this.kind === 'models'
          ? `there is neither a folder "${this.name}" nor a model ${where}.`
          : `there is no data set ${where}.`,
        { remedy: 'Check the spelling and the revision.', cause: error },
      );
    if (isOfDisk(error))
      return new AttuneError(
        'HUB_CACHE',
        `the cache ${this.folder} cannot be written: ${error.message}.`,
        {
          remedy: 'Make room there, or give another cacheDir.',
          cause: error,
        },
      );
    return new AttuneError(
      'HUB_UNREACHABLE',
      `${this.#noFolder}${where} cannot be fetched: ${reasonOf(error)}.`,
      {
        remedy: 'Check the connection and run again: what has come in is kept.',
        cause: error,
      },
    );
  }

  /** Fetches a file unless the cache has it. */
  async #download(file: RemoteFile, sha: string): Promise<void> {
    const blob = this.#blob(file);
    if (await stat(join(this.#snapshot(sha), file.path)).catch(() => null)) return;
    if ((await stat(blob).catch(() => null))?.size === file.size) return;
    const path = file.path.split('/').map(encodeURIComponent).join('/');
    const { onProgress } = this.options;
    const repo = this.kind === 'models' ? this.name : `${this.kind}/${this.name}`;
    await fetchBlob(this.http, `/${repo}/resolve/${sha}/${path}`, file, blob, (bytesDone) =>
      onProgress?.({ file: file.path, bytesDone, bytesTotal: file.size }),
    );
  }

  /** Puts a file into the snapshot. */
  async #link(file: RemoteFile, sha: string): Promise<void> {
    const pointer = join(this.#snapshot(sha), file.path);
    if (await stat(pointer).catch(() => null)) return;
    const blob = this.#blob(file);
    await mkdir(dirname(pointer), { recursive: true });
    // Made beside and renamed: another process may do the same, and a link whose blob is gone may
    // be there.
    const beside = `${pointer}.${randomHex(4)}`;
    await symlink(relative(dirname(pointer), blob), beside).catch(() => copyFile(blob, beside));
    try {
      await rename(beside, pointer);
    } catch (error) {
      await rm(beside, { force: true });
      throw error;
    }
  }

  #blob({ hash }: RemoteFile): string {
    return join(this.folder, 'blobs', hash);
  }

  #snapshot(sha: string): string {
    return join(this.folder, 'snapshots', sha);
  }

  /** @throws HUB_NOT_FOUND for what leads out of the folder of refs */
  #ref(): string {
    const refs = resolve(this.folder, 'refs');
    const path = resolve(refs, this.#revision);
    if (path.startsWith(refs + sep) && !this.#revision.includes('\0')) return path;
    throw new AttuneError('HUB_NOT_FOUND', `${JSON.stringify(this.#revision)} is no revision.`, {
      remedy: 'Give a branch, a tag or a commit.',
    });
  }
}

/** Errors of files name their path; those of connections do not. */
const isOfDisk = (error: unknown): error is SystemError =>
  error instanceof Error && 'syscall' in error && 'path' in error;

/** fetch says "fetch failed" and keeps the reason to itself. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { cause } = error;
  return cause instanceof Error && error.message === 'fetch failed'
    ? cause.message || String((cause as SystemError).code)
    : error.message;
}

const isCommit = (revision: string): boolean => /^[0-9a-f]{40}$/.test(revision);

/** @throws HUB_TOKEN, never repeating it */
async function accessToken(options: HubOptions, cache: string): Promise<string | null> {
  if (options.token === false) return null;
  if (options.token === undefined) {
    // Beside the cache, where `hf auth login` puts it; never sent to another server.
    if (options.hubUrl !== undefined || options.cacheDir !== undefined) return null;
    const path = join(dirname(cache), 'token');
    const file = { code: 'HUB_TOKEN', remedy: 'Run `hf auth login`.', maxBytes: 10_000 };
    const stored = (await readText(path, file).catch(() => '')).trim();
    return isToken(stored) ? stored : null;
  }
  if (isToken(options.token)) return options.token;
  throw new AttuneError('HUB_TOKEN', 'the token is not "hf_" and letters and digits.', {
    remedy: 'Make one at https://huggingface.co/settings/tokens, with the right to read.',
  });
}

const isToken = (text: unknown): text is string =>
  typeof text === 'string' && /^hf_[\x21-\x7e]+$/.test(text);
