/** `a/./b/../c` -> `a/c`; an empty path is `.`. */
export function normalize(path: string): string {
  const isAbsolute = path.startsWith('/');
  const parts: string[] = [];
  for (const part of path.split('/')) {
    if (part === '' || part === '.') continue;
    if (part !== '..') parts.push(part);
    else if (parts.length > 0 && parts.at(-1) !== '..') parts.pop();
    else if (!isAbsolute) parts.push('..');
  }
  const text = (isAbsolute ? '/' : '') + parts.join('/');
  if (text === '') return path.endsWith('/') ? './' : '.';
  return path.endsWith('/') && text !== '/' ? `${text}/` : text;
}

const withoutEnd = (path: string): string => path.replace(/(?<=.)\/+$/, '');

export const join = (...parts: readonly string[]): string =>
  normalize(parts.filter((part) => part !== '').join('/'));

export function dirname(path: string): string {
  const text = withoutEnd(path);
  const at = text.lastIndexOf('/');
  if (at < 0) return '.';
  if (at === 1 && text.startsWith('/')) return '//';
  return at === 0 ? '/' : text.slice(0, at);
}

export function basename(path: string): string {
  const text = withoutEnd(path);
  return text === '/' ? '' : text.slice(text.lastIndexOf('/') + 1);
}

/** There is no current folder where this is used: relative paths begin at `/`. */
export function resolve(...parts: readonly string[]): string {
  let path = '';
  for (const part of parts) path = part.startsWith('/') ? part : `${path}/${part}`;
  return withoutEnd(normalize(`/${path}`));
}

export function relative(from: string, to: string): string {
  const [a, b] = [from, to].map((path) => resolve(path).split('/').filter(Boolean));
  let same = 0;
  while (same < a!.length && a![same] === b![same]) same++;
  return [...a!.slice(same).map(() => '..'), ...b!.slice(same)].join('/');
}
