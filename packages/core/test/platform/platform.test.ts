import { posix } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import * as node from '../../src/platform/node.js';
import * as paths from '../../src/platform/posixPath.js';
import * as web from '../../src/platform/web.js';

test('both platforms have the same names', () => {
  expect(Object.keys(web).sort()).toEqual(Object.keys(node).sort());
});

const path = fc
  .array(fc.constantFrom('a', 'b.c', '.', '..', '', 'a b', '...'), { maxLength: 6 })
  .map((parts) => parts.join('/'));

const two = { join: paths.join, resolve: paths.resolve, relative: paths.relative };
const one = { dirname: paths.dirname, basename: paths.basename, normalize: paths.normalize };

test.each(['join', 'resolve', 'relative'] as const)("%s is Node's for POSIX", (name) => {
  fc.assert(
    fc.property(path, path, (a, b) => {
      // Without a current folder, relative paths begin at the root.
      const [x, y] = name === 'join' ? [a, b] : [`/${a}`, name === 'relative' ? `/${b}` : b];
      expect(two[name](x, y)).toBe(posix[name](x, y));
    }),
    { numRuns: 1000 },
  );
});

test.each(['dirname', 'basename', 'normalize'] as const)("%s is Node's for POSIX", (name) => {
  fc.assert(
    fc.property(path, (a) => {
      expect(one[name](a)).toBe(posix[name](a));
    }),
    { numRuns: 1000 },
  );
});

test('what a browser cannot do says so', async () => {
  await expect(web.readFile('a', 'utf8')).rejects.toThrow(
    /^PLATFORM_UNSUPPORTED: reading files is not there in a browser\.\n {2}Fix: Run this part in Node/,
  );
  expect(() => web.createHash('sha256')).toThrow(/PLATFORM_UNSUPPORTED: a hash/);
});

test('a browser tells UTF-8 from other bytes, and takes turns', async () => {
  for (const bytes of [[0x61], [0xc3, 0xa9], [0xc3], [0xff], [0xed, 0xa0, 0x80]])
    expect(web.isUtf8(Uint8Array.from(bytes))).toBe(node.isUtf8(Uint8Array.from(bytes)));
  const seen: string[] = [];
  const turn = new Promise<void>((done) =>
    web.nextTurn(() => {
      seen.push('turn');
      done();
    }),
  );
  seen.push('now');
  await turn;
  expect(seen).toEqual(['now', 'turn']);
});
