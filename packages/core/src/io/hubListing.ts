import { briefly } from '../util/briefly.js';
import { AttuneError } from '../util/errors.js';
import { isPlainObject } from '../util/json.js';
import { parseJson, plainJson, strictJson } from '../util/losslessJson.js';
import type { HubHttp } from './hubHttp.js';

/**
 * A file of the Hub with the hash of its content: sha256 of large files, git's own of small ones.
 */
export interface RemoteFile {
  readonly path: string;
  readonly size: number;
  readonly hash: string;
  readonly isLarge: boolean;
}

const isCommit = (value: unknown): value is string =>
  typeof value === 'string' && /^[0-9a-f]{40}$/.test(value);

/** What a repository of the Hub holds: the word of its addresses and of the cache. */
export type RepoKind = 'models' | 'datasets';

/** The commit that a revision is. @throws HUB_CORRUPT */
export async function commitOf(
  http: HubHttp,
  repo: string,
  revision: string,
  kind: RepoKind = 'models',
): Promise<string> {
  const path = `/api/${kind}/${repo}/revision/${encodeURIComponent(revision)}?expand=sha`;
  const info = parseAnswer(http, await http.json(path));
  const sha = isPlainObject(info) ? info.sha : undefined;
  // It becomes the name of a folder: "../.." would lead out of the cache.
  if (!isCommit(sha))
    throw corrupt(http, `revision "${revision}" is commit ${briefly(sha)}, expected 40 hex digits`);
  if (isCommit(revision) && sha !== revision)
    throw corrupt(http, `commit ${revision} is said to be commit ${sha}`);
  return sha;
}

/** The files of a commit. @throws HUB_CORRUPT for names that lead out of a folder, HUB_PROTOCOL */
export async function listFiles(
  http: HubHttp,
  repo: string,
  sha: string,
  kind: RepoKind = 'models',
): Promise<RemoteFile[]> {
  const files: RemoteFile[] = [];
  for await (const text of http.pages(`/api/${kind}/${repo}/tree/${sha}?recursive=true`)) {
    const page = parseAnswer(http, text);
    if (!Array.isArray(page)) throw corrupt(http, `a list of files is ${briefly(page)}`);
    for (const entry of page as unknown[]) {
      if (!isPlainObject(entry) || typeof entry.path !== 'string')
        throw corrupt(http, `a list of files holds ${briefly(entry)}`);
      if (entry.type === 'file') files.push(fileOf(http, entry, entry.path));
    }
  }
  return files;
}

function fileOf(http: HubHttp, entry: Readonly<Record<string, unknown>>, path: string): RemoteFile {
  if (!isInside(path))
    throw corrupt(http, `a file is named ${briefly(path)}, which is no place within a folder`);
  const lfs = isPlainObject(entry.lfs) ? entry.lfs : null;
  const { size, oid } = lfs ?? entry;
  const length = lfs ? 64 : 40;
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0)
    throw corrupt(http, `${path} is said to have ${briefly(size)} bytes`);
  if (typeof oid !== 'string' || oid.length !== length || !/^[0-9a-f]+$/.test(oid))
    throw corrupt(http, `${path} is said to have the hash ${briefly(oid)}`);
  return { path, size, hash: oid, isLarge: lfs !== null };
}

/** Names of files below a folder, on Windows too. */
const isInside = (path: string): boolean =>
  !/[\\\0]|^[a-zA-Z]:/.test(path) &&
  path.split('/').every((part) => part !== '' && part !== '.' && part !== '..');

function parseAnswer(http: HubHttp, text: string): unknown {
  try {
    return plainJson(parseJson(text, { ...strictJson, maxValues: 2 ** 20 }));
  } catch (cause) {
    throw corrupt(http, `an answer is not JSON: ${(cause as Error).message}`, cause);
  }
}

const corrupt = (http: HubHttp, what: string, cause?: unknown): AttuneError =>
  new AttuneError('HUB_CORRUPT', `${http.shownUrl}: ${what}.`, {
    remedy: 'Check hubUrl: the server does not speak the Hub’s protocol.',
    ...(cause !== undefined && { cause }),
  });
