import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { copyFile, mkdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises';
import { dirname, join, relative, resolve } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ReadableStream } from 'node:stream/web';
import {
  downloadFile,
  getHFHubCachePath,
  HubApiError,
  listFiles,
  modelInfo,
} from '@huggingface/hub';
import { AttuneError } from '../util/errors.js';
import { writeFileAtomic } from './atomic.js';

/** Where a model that is not a folder comes from. Names are those of huggingface_hub. */
export interface HubOptions {
  /** Branch, tag or commit. Default "main". */
  readonly revision?: string;
  /**
   * Folder of the cache, shared with Python's huggingface_hub. Default: HF_HUB_CACHE, else
   * HF_HOME/hub, else ~/.cache/huggingface/hub.
   */
  readonly cacheDir?: string;
  /**
   * Access token (`hf_...`) for private and gated repositories; false: none. Default: the one that
   * `hf auth login` stored, for huggingface.co alone.
   */
  readonly token?: string | false;
  /** Ask nobody: take what the cache holds. Default false. */
  readonly localFilesOnly?: boolean;
  /** Another server that speaks the Hub's protocol. Default https://huggingface.co. */
  readonly hubUrl?: string;
  /** Called while files come in. Default: nobody is told. */
  readonly onProgress?: (progress: HubProgress) => void;
}

export interface HubProgress {
  readonly file: string;
  readonly bytesDone: number;
  readonly bytesTotal: number;
}

export const hubOptionNames = [
  'revision',
  'cacheDir',
  'token',
  'localFilesOnly',
  'hubUrl',
  'onProgress',
] as const satisfies readonly (keyof HubOptions)[];

/** What a tokenizer is read from. */
export const TOKENIZER_FILES =
  /^(tokenizer|tokenizer_config|special_tokens_map)\.json$|^chat_template\.jinja$/;

/** What a model is read from, its tokenizer included: generation reads stop strings with it. */
export const MODEL_FILES = new RegExp(
  `${TOKENIZER_FILES.source}|^(config|generation_config)\\.json$|^model(-\\d{5}-of-\\d{5})?\\.safetensors(\\.index\\.json)?$`,
);

/**
 * The folder of a model: the path itself where it is a folder, else the Hub's repository of that name,
 * fetched into Hugging Face's cache (blobs, snapshots, refs: Python finds there what Attune fetched and
 * the other way round).
 *
 * Only files that match `wanted` are fetched, only those that the cache lacks; a broken download goes on
 * where it stopped; what arrives is compared with the hash that the Hub names. Without a connection the
 * cached snapshot serves.
 *
 * @throws MODEL_FOLDER_MISSING, HUB_NOT_FOUND, HUB_ACCESS, HUB_UNREACHABLE, HUB_CORRUPT, HUB_TOKEN
 */
export async function resolveFolder(
  nameOrPath: string,
  wanted: RegExp,
  options: HubOptions = {},
): Promise<string> {
  const found = await stat(nameOrPath).catch(() => null);
  if (found?.isDirectory()) return nameOrPath;
  if (found)
    throw new AttuneError('MODEL_FOLDER_MISSING', `${nameOrPath} is a file, expected a folder.`, {
      remedy: 'Give the folder that holds config.json.',
    });
  if (!/^[\w-][\w.-]*(\/[\w-][\w.-]*)?$/.test(nameOrPath))
    throw new AttuneError('MODEL_FOLDER_MISSING', `there is no folder "${nameOrPath}".`, {
      remedy: `Check the path; it is taken from ${process.cwd()}.`,
    });
  const repo = await Repository.open(nameOrPath, options);
  if (options.localFilesOnly) return repo.cached();
  try {
    return await repo.fetch(wanted);
  } catch (error) {
    const failure = repo.explain(error);
    if (failure.code !== 'HUB_UNREACHABLE') throw failure;
    return repo.cached(failure);
  }
}

/** A file of the Hub with the hash of its content: sha256 of large files, git's own of small ones. */
interface RemoteFile {
  readonly path: string;
  readonly size: number;
  readonly hash: string;
  readonly isLarge: boolean;
}

/** Attempts to get on with one file before giving up; each goes on where the last stopped. */
const ATTEMPTS = 4;

class Repository {
  readonly #access: { hubUrl?: string; accessToken?: string };
  readonly #revision: string;

  private constructor(
    readonly name: string,
    private readonly options: HubOptions,
    /** models--owner--name below the cache. */
    private readonly folder: string,
    token: string | null,
  ) {
    this.#revision = options.revision ?? 'main';
    this.#access = {
      ...(options.hubUrl !== undefined && { hubUrl: options.hubUrl }),
      ...(token !== null && { accessToken: token }),
    };
  }

  static async open(name: string, options: HubOptions): Promise<Repository> {
    const cache = options.cacheDir ?? getHFHubCachePath();
    const token = await accessToken(options, cache);
    return new Repository(name, options, join(cache, `models--${name.replace('/', '--')}`), token);
  }

  /** @returns the snapshot's folder, with every wanted file in it */
  async fetch(wanted: RegExp): Promise<string> {
    const { sha } = await modelInfo({
      name: this.name,
      revision: this.#revision,
      additionalFields: ['sha'],
      ...this.#access,
    });
    if (sha !== this.#revision) await writeRef(this.#ref(), sha);
    const files = (await this.#list(sha)).filter(({ path }) => wanted.test(path));
    const hasWhole = files.some(({ path }) => path === 'model.safetensors');
    for (const file of files) {
      // A repository may hold the weights twice, whole and in shards.
      if (hasWhole && /^model-|\.index\.json$/.test(file.path)) continue;
      await this.#place(file, sha);
    }
    return this.#snapshot(sha);
  }

  /** The snapshot that the cache holds. @throws `failure`, or HUB_NOT_CACHED */
  async cached(failure?: AttuneError): Promise<string> {
    const sha = /^[0-9a-f]{40}$/.test(this.#revision)
      ? this.#revision
      : (await readFile(this.#ref(), 'utf8').catch(() => '')).trim();
    const folder = this.#snapshot(sha);
    if (sha !== '' && (await stat(folder).catch(() => null))?.isDirectory()) return folder;
    throw (
      failure ??
      new AttuneError(
        'HUB_NOT_CACHED',
        `there is no folder "${this.name}", and the cache (${this.folder}) does not hold revision "${this.#revision}" of that model.`,
        { remedy: 'Leave localFilesOnly out once, with a connection, to fetch it.' },
      )
    );
  }

  /** What went wrong, in the words of this package. */
  explain(error: unknown): AttuneError {
    if (AttuneError.isInstance(error)) return error;
    const status = error instanceof HubApiError ? error.statusCode : null;
    const where = `"${this.name}" (revision "${this.#revision}") at ${this.options.hubUrl ?? 'https://huggingface.co'}`;
    if (status === 401 || status === 403)
      return new AttuneError(
        'HUB_ACCESS',
        `there is no folder "${this.name}", and the Hub refuses access to ${where}.`,
        {
          remedy:
            'It may not exist, be private, or ask for its licence to be accepted on its page. Pass token: "hf_...", or run `hf auth login`.',
          cause: error,
        },
      );
    if (status === 404)
      return new AttuneError(
        'HUB_NOT_FOUND',
        `there is neither a folder "${this.name}" nor a model ${where}.`,
        { remedy: 'Check the spelling and the revision.', cause: error },
      );
    return new AttuneError(
      'HUB_UNREACHABLE',
      `there is no folder "${this.name}", and ${where} cannot be fetched: ${error instanceof Error ? error.message : String(error)}.`,
      {
        remedy: 'Check the connection and run again: what has come in is kept.',
        cause: error,
      },
    );
  }

  async #list(sha: string): Promise<RemoteFile[]> {
    const files: RemoteFile[] = [];
    for await (const { type, path, size, oid = '', lfs } of listFiles({
      repo: this.name,
      revision: sha,
      ...this.#access,
    }))
      if (type === 'file')
        files.push({ path, size: lfs?.size ?? size, hash: lfs?.oid ?? oid, isLarge: !!lfs });
    return files;
  }

  /** Fetches a file unless the cache has it, and links it into the snapshot. */
  async #place(file: RemoteFile, sha: string): Promise<void> {
    if (!/^[0-9a-f]{40,64}$/.test(file.hash))
      throw new AttuneError('HUB_CORRUPT', `the Hub names no hash for ${file.path}.`, {
        remedy: 'Check hubUrl: the server does not speak the Hub’s protocol.',
      });
    const pointer = join(this.#snapshot(sha), file.path);
    if (await stat(pointer).catch(() => null)) return;
    const blob = join(this.folder, 'blobs', file.hash);
    if (!(await stat(blob).catch(() => null))) await this.#download(file, sha, blob);
    await mkdir(dirname(pointer), { recursive: true });
    await rm(pointer, { force: true }); // a link whose blob is gone
    await symlink(relative(dirname(pointer), blob), pointer).catch(() => copyFile(blob, pointer));
  }

  async #download(file: RemoteFile, sha: string, blob: string): Promise<void> {
    const incomplete = `${blob}.incomplete`;
    await mkdir(dirname(blob), { recursive: true });
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#append(file, sha, incomplete);
        break;
      } catch (error) {
        if (attempt === ATTEMPTS || AttuneError.isInstance(error) || isRefusal(error)) throw error;
        await new Promise((done) => setTimeout(done, 200 * 2 ** attempt));
      }
    }
    const found = await contentHash(incomplete, file);
    if (found !== file.hash) {
      await rm(incomplete, { force: true });
      throw new AttuneError(
        'HUB_CORRUPT',
        `${file.path} of "${this.name}" arrived with hash ${found}, expected ${file.hash}.`,
        { remedy: 'It was deleted; run again to fetch it anew.' },
      );
    }
    await rename(incomplete, blob);
  }

  /** Adds to `incomplete` what it lacks of the file. @throws when the connection ends before */
  async #append(file: RemoteFile, sha: string, incomplete: string): Promise<void> {
    const held = (await stat(incomplete).catch(() => null))?.size ?? 0;
    const start = held > file.size ? 0 : held;
    if (start === file.size && start > 0) return;
    const remote = await downloadFile({
      repo: this.name,
      path: file.path,
      revision: sha,
      ...this.#access,
    });
    if (!remote)
      throw new AttuneError('HUB_NOT_FOUND', `"${this.name}" lists ${file.path} and has it not.`, {
        remedy: 'Run again; the repository may just have changed.',
      });
    const stream = remote.slice(start, remote.size).stream() as ReadableStream<Uint8Array>;
    let bytesDone = start;
    const { onProgress } = this.options;
    await pipeline(
      Readable.fromWeb(stream),
      async function* (chunks: AsyncIterable<Uint8Array>) {
        for await (const chunk of chunks) {
          bytesDone += chunk.byteLength;
          onProgress?.({ file: file.path, bytesDone, bytesTotal: file.size });
          yield chunk;
        }
      },
      createWriteStream(incomplete, { flags: start > 0 ? 'a' : 'w' }),
    );
    if (bytesDone !== file.size)
      throw new Error(`${file.path} ended after ${bytesDone} of ${file.size} bytes`);
  }

  #snapshot(sha: string): string {
    return join(this.folder, 'snapshots', sha);
  }

  #ref(): string {
    const refs = resolve(this.folder, 'refs');
    const path = resolve(refs, this.#revision);
    if (path.startsWith(refs)) return path;
    throw new AttuneError('HUB_NOT_FOUND', `"${this.#revision}" is no revision.`, {
      remedy: 'Give a branch, a tag or a commit.',
    });
  }
}

async function writeRef(path: string, sha: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFileAtomic(path, sha);
}

/** The server answered and meant it: another attempt gets the same answer. */
const isRefusal = (error: unknown): boolean =>
  error instanceof HubApiError && error.statusCode >= 400 && error.statusCode < 500;

/** Of large files the sha256, of others git's: sha1 of "blob <size>\0" and the content. */
async function contentHash(path: string, { isLarge, size }: RemoteFile): Promise<string> {
  const hash = createHash(isLarge ? 'sha256' : 'sha1');
  if (!isLarge) hash.update(`blob ${size}\0`);
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/** @throws HUB_TOKEN */
async function accessToken(options: HubOptions, cache: string): Promise<string | null> {
  if (options.token === false) return null;
  if (options.token === undefined) {
    // Beside the cache, where `hf auth login` puts it; never sent to another server.
    if (options.hubUrl !== undefined || options.cacheDir !== undefined) return null;
    const stored = await readFile(join(dirname(cache), 'token'), 'utf8').catch(() => '');
    return stored.trim().startsWith('hf_') ? stored.trim() : null;
  }
  if (options.token.startsWith('hf_')) return options.token;
  throw new AttuneError('HUB_TOKEN', 'the token does not begin with "hf_".', {
    remedy: 'Make one at https://huggingface.co/settings/tokens, with the right to read.',
  });
}
