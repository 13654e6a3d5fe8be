import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Files below a folder, but for what is installed or built. */
function filesIn(folder: string, ending: RegExp): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((path) => ending.test(path) && !/(^|[\\/])(node_modules|dist|out)[\\/]/.test(path))
    .map((path) => join(folder, path));
}

const COLUMNS = 100;
const isLong = (line: string) => [...line].length > COLUMNS;

/** Long lines of comments; code of an `@example` and addresses are as long as they are. */
function longComments(text: string): number[] {
  let inExample = false;
  return text.split('\n').flatMap((line, i) => {
    const words = /^\s*(?:\/\*\*|\*|\/\/)(?: (.*))?$/.exec(line)?.[1];
    if (/^\s*\/\*\*|@\w/.test(line)) inExample = /@example/.test(line);
    if (words === undefined || inExample || /^\s*\S*$/.test(words)) return [];
    const isCode = /[;{]\s*$|\},?$|\),$/.test(words);
    return isLong(line) && !isCode ? [i + 1] : [];
  });
}

/** Long lines of prose in Markdown: tables, code and headings aside. */
function longProse(text: string): number[] {
  let inCode = false;
  return text.split('\n').flatMap((line, i) => {
    if (/^\s*```/.test(line)) inCode = !inCode;
    if (inCode || /^\s*[|<#[]/.test(line) || !/\s/.test(line.trim())) return [];
    return isLong(line) ? [i + 1] : [];
  });
}

test('comments have at most 100 columns', () => {
  const files = ['packages', 'examples', 'integration', 'bench'].flatMap((folder) =>
    filesIn(folder, /\.ts$/),
  );
  const long = files.flatMap((file) =>
    longComments(readFileSync(join(root, file), 'utf8')).map((line) => `${file}:${line}`),
  );
  expect(files.length).toBeGreaterThan(500);
  expect(long).toEqual([]);
});

test('prose has at most 100 columns', () => {
  const files = ['docs', 'packages', 'examples', 'parity', 'bench'].flatMap((folder) =>
    filesIn(folder, /\.md$/),
  );
  const long = [...files, 'README.md', 'CHANGELOG.md', 'CONTRIBUTING.md'].flatMap((file) =>
    longProse(readFileSync(join(root, file), 'utf8')).map((line) => `${file}:${line}`),
  );
  expect(long).toEqual([]);
});

/** Sentences of comments and of prose that begin with "Of", which hides their subject. */
test('no sentence begins with "Of"', () => {
  const opening = /(?:^|[\s(*/"|])Of\s/;
  const isComment = /^\s*(?:\/\*\*|\*|\/\/|#)/;
  const files = ['packages', 'docs', 'examples', 'integration', 'bench', 'parity'].flatMap(
    (folder) => filesIn(folder, /\.(?:ts|md|py)$/),
  );
  const found = [...files, 'README.md', 'CONTRIBUTING.md'].flatMap((file) =>
    readFileSync(join(root, file), 'utf8')
      .split('\n')
      .flatMap((line, i) =>
        opening.test(line) && (file.endsWith('.md') || isComment.test(line))
          ? [`${file}:${i + 1}`]
          : [],
      ),
  );
  expect(files.length).toBeGreaterThan(500);
  expect(found).toEqual([]);
});
