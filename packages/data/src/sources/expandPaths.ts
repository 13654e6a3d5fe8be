import type { Dirent } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { sep } from 'node:path';
import { AttuneError } from '@attune/core';
import { describeValue, nearest } from '@attune/core/util';

/**
 * A path, several of them, or patterns. `*` and `?` stand for characters of a name, `[ab]` for one
 * of several, `{a,b}` for one of several words, `**` for any number of folders.
 */
export type Paths = string | readonly string[];

/** Names that an error lists. */
const LISTED = 8;

/**
 * The files that paths and patterns name, each once: in the order of the patterns, and of a pattern
 * in the order of their names (by UTF-16 code units, the same on every machine). What exists is
 * taken as it is, even when its name has a `*`. Names that begin with a dot match only a pattern
 * that does. Links are files; `**` does not follow links to folders.
 *
 * @param folder what a folder stands for; null: it is an error
 * @throws DATA_FILE when a pattern matches nothing, or a path does not exist
 */
export async function expandPaths(
  paths: Paths,
  where: string,
  folder: ((folder: string) => Promise<readonly string[]>) | null,
): Promise<readonly string[]> {
  const patterns = typeof paths === 'string' ? [paths] : paths;
  if (!Array.isArray(patterns) || patterns.length === 0 || !patterns.every(isName))
    throw new AttuneError(
      'DATA_FILE',
      `${where}: expected a path, several or a pattern, found ${describeValue(Array.isArray(paths) && paths.length > 0 ? paths.find((path) => !isName(path)) : paths)}.`,
      { remedy: `Write ${where}('raw/*.jsonl').` },
    );
  const files = new Set<string>();
  for (const pattern of patterns) {
    const found = await stat(pattern).catch(() => null);
    if (found?.isDirectory() && folder !== null)
      for (const file of await folder(pattern)) files.add(file);
    else if (found !== null || !isPattern(pattern)) files.add(pattern);
    else {
      const matches = await matching(pattern);
      if (matches.length === 0) throw await noMatch(pattern, where);
      for (const file of matches) files.add(await checkedName(file));
    }
  }
  return [...files];
}

const isName = (path: unknown): path is string => typeof path === 'string' && path.trim() !== '';

const isPattern = (path: string): boolean => /[*?[{]/.test(path);

/** The files that match a pattern. */
async function matching(pattern: string): Promise<string[]> {
  const { root, parts } = split(pattern);
  const found: string[] = [];
  await walk(root, parts, found);
  return [...new Set(found)].sort();
}

/** A pattern as the folder that it begins in and the names below. */
function split(pattern: string): { readonly root: string; readonly parts: readonly string[] } {
  const slashed = sep === '\\' ? pattern.replaceAll('\\', '/') : pattern;
  const parts = slashed.split('/');
  const first = parts.findIndex(isPattern);
  return { root: parts.slice(0, first).join('/'), parts: parts.slice(first) };
}

const under = (folder: string, name: string): string =>
  folder === '' ? name : folder === '/' ? `/${name}` : `${folder}/${name}`;

/** @throws DATA_FILE where the folder is there and cannot be listed: what is in it would be lost */
export const unlisted =
  (folder: string) =>
  (error: NodeJS.ErrnoException): never[] => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return [];
    const isDenied = error.code === 'EACCES' || error.code === 'EPERM';
    const why = isDenied ? 'may not be listed by this user' : `cannot be listed: ${error.message}`;
    throw new AttuneError('DATA_FILE', `the folder ${error.path ?? folder} ${why}.`, {
      remedy: 'Give this user the right to, or name the files.',
    });
  };

/** @throws DATA_FILE for a name that no text can spell, by which no file is found again */
export async function checkedName(file: string): Promise<string> {
  if (!file.includes('\ufffd') || (await stat(file).catch(() => null))) return file;
  throw new AttuneError('DATA_FILE', `the name of the file ${file} is not UTF-8.`, {
    remedy: 'Rename the file: Node cannot open it by that name.',
  });
}

async function walk(folder: string, parts: readonly string[], found: string[]): Promise<void> {
  const [part, ...rest] = parts;
  if (part === undefined) return; // It names folders: 'raw/*/'.
  if (part === '') return walk(folder, rest, found);
  const entries = await readdir(folder || '.', { withFileTypes: true }).catch(
    unlisted(folder || '.'),
  );
  if (part === '**') {
    if (rest.length > 0) await walk(folder, rest, found);
    for (const entry of entries) {
      if (entry.name.startsWith('.')) continue;
      const path = under(folder, entry.name);
      if (entry.isDirectory()) await walk(path, parts, found);
      else if (rest.length === 0 && !(await isFolderBehind(entry, path))) found.push(path);
    }
    return;
  }
  const matches = nameMatcher(part);
  for (const entry of entries) {
    if (!matches(entry.name)) continue;
    const path = under(folder, entry.name);
    const isFolder = await isFolderBehind(entry, path);
    if (rest.length === 0) {
      if (!isFolder) found.push(path);
    } else if (isFolder) await walk(path, rest, found);
  }
}

/** What a link leads to is a file or a folder, too. */
const isFolderBehind = async (entry: Dirent, path: string): Promise<boolean> =>
  entry.isSymbolicLink()
    ? ((await stat(path).catch(() => null))?.isDirectory() ?? false)
    : entry.isDirectory();

/** Whether a path, with `/` between its names, matches a pattern. */
export function pathMatcher(pattern: string): (path: string) => boolean {
  const parts = pattern.split('/').map((part) => (part === '**' ? null : nameMatcher(part)));
  const matches = (names: readonly string[], at: number): boolean => {
    if (at === parts.length) return names.length === 0;
    const part = parts[at];
    if (part === null)
      return matches(names, at + 1) || (names.length > 0 && matches(names.slice(1), at));
    return names.length > 0 && part!(names[0]!) && matches(names.slice(1), at + 1);
  };
  return (path) => matches(path.split('/'), 0);
}

/** Whether a name matches a part of a pattern. */
function nameMatcher(part: string): (name: string) => boolean {
  const alternatives = braces(part).map(
    (plain) =>
      new RegExp(
        `^${plain.replace(/\[(!?)([^\]]+)\]|[\s\S]/g, (one, not?: string, set?: string) => {
          if (set !== undefined) return `[${not ? '^' : ''}${set.replace(/[\\^[]/g, '\\$&')}]`;
          if (one === '*') return '[^/]*';
          return one === '?' ? '[^/]' : one.replace(/[\\^$.|+()[\]{}]/, '\\$&');
        })}$`,
        's',
      ),
  );
  return (name) =>
    name.startsWith('.') === part.startsWith('.') && alternatives.some((one) => one.test(name));
}

/** `a{b,c}` as ab and ac. */
function braces(text: string): string[] {
  const match = /^(.*?)\{([^{}]*,[^{}]*)\}(.*)$/s.exec(text);
  if (!match) return [text];
  const [, before, choices, after] = match as unknown as [string, string, string, string];
  return choices.split(',').flatMap((choice) => braces(before + choice + after));
}

/** An error that says what there is instead. */
async function noMatch(pattern: string, where: string): Promise<AttuneError> {
  const { root } = split(pattern);
  const folder = root === '' && !pattern.startsWith('/') ? '.' : root || '/';
  const names = await readdir(folder).then(
    (list) => list.filter((name) => !name.startsWith('.')).sort(),
    () => null,
  );
  const near = nearest(pattern.slice(pattern.lastIndexOf('/') + 1), names ?? []);
  const there =
    names === null
      ? `there is no folder "${folder}"`
      : names.length === 0
        ? `the folder "${folder}" is empty`
        : `"${folder}" has ${names.slice(0, LISTED).join(', ')}${names.length > LISTED ? ` and ${names.length - LISTED} more` : ''}`;
  return new AttuneError('DATA_FILE', `${where}: no file matches "${pattern}"; ${there}.`, {
    remedy: near
      ? `Did you mean "${near}"? The pattern is relative to ${process.cwd()}.`
      : `Check the pattern; it is relative to ${process.cwd()}.`,
  });
}
