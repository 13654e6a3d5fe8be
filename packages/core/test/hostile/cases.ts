/**
 * What may lie where a file is expected: other things than files, and texts that are no JSON
 * object, or one that is not to be trusted. Each is put in the place of every file that is read.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { AttuneError } from '@attune/core';
import { expect } from 'vitest';

/** Puts something at a path. */
export type Put = (path: string) => void | Promise<void>;

export const onPosix = process.platform !== 'win32';
const isRoot = process.getuid?.() === 0;

/** Name, how it gets there, what the message says of it. */
export type NotFile = readonly [name: string, put: Put, says: RegExp];

export const notFiles: readonly NotFile[] = [
  ['a folder', (path) => void mkdirSync(path), /is a folder/],
  ...(onPosix
    ? ([
        ['a pipe', (path) => void execFileSync('mkfifo', [path]), /is a pipe/],
        ['/dev/zero', (path) => symlinkSync('/dev/zero', path), /is a device/],
        ['a terminal', (path) => symlinkSync('/dev/ptmx', path), /is a device/],
        ['a socket', socket, /is a socket/],
        ['a circle of links', (path) => symlinkSync(path, path), /leads back to itself/],
        ['a link to nothing', (path) => symlinkSync('/no/such/file', path), /link to something/],
        ['a link to a folder', (path) => symlinkSync('/tmp', path), /is a folder/],
      ] satisfies NotFile[])
    : []),
  ...(onPosix && !isRoot
    ? ([
        [
          'a file of someone else',
          (path) => writeFileSync(path, '{}', { mode: 0 }),
          /may not be read/,
        ],
      ] satisfies NotFile[])
    : []),
];

/** What the path is of is over 100 bytes long: sockets are bound under a short name and moved. */
async function socket(path: string): Promise<void> {
  const short = `/tmp/attune-${process.pid}.sock`;
  rmSync(short, { force: true });
  const server = createServer();
  await new Promise<void>((done) => server.listen(short, done));
  execFileSync('mv', [short, path]);
  await new Promise((done) => server.close(done));
}

const nested = (open: string, close: string, n: number, inner = '') =>
  open.repeat(n) + inner + close.repeat(n);
const utf16 = (text: string) => Buffer.from(text, 'utf16le');

/** For any text that is to be read. */
export const encodings: readonly (readonly [string, Buffer, RegExp])[] = [
  ['UTF-16', utf16('\uFEFF{"a":1}'), /UTF-16/],
  ['UTF-16, big endian', utf16('\uFEFF{"a":1}').swap16(), /UTF-16/],
  ['UTF-16 without a mark', utf16('{"a":1}'), /UTF-16/],
  ['UTF-32', Buffer.from([0xff, 0xfe, 0, 0, 0x7b, 0, 0, 0]), /UTF-32/],
  ['Latin-1', Buffer.from('{"a":"é"}', 'latin1'), /UTF-8|byte 6/],
  ['half a character', Buffer.from('{"a":"é').subarray(0, 7), /UTF-8|byte 6/],
  ['a surrogate in UTF-8', Buffer.from([0x7b, 0x22, 0xed, 0xa0, 0x80, 0x22]), /UTF-8|byte 2/],
  ['gzip', Buffer.from([0x1f, 0x8b, 8, 0, 0]), /gzip/],
  ['zstd', Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0]), /zstd/],
  ['a zip archive', Buffer.from('PK\x03\x04abc'), /zip/],
];

/** For any file that is to hold a JSON object. */
export const badJson: readonly (readonly [string, Buffer, RegExp])[] = [
  ...encodings,
  ...(
    [
      ['nothing', '', /empty|no rows/],
      ['white space', ' \n\t\n', /empty|no rows/],
      ['cut off', '{"a":', /not JSON.*nothing/],
      ['cut off in a text', '{"a":"b', /not JSON.*does not end/],
      ['a list', '[]', /holds \[\]|no rows/],
      ['a list of objects in a list', '[[{"a":1}]]', /holds \[\[|a row is an object/],
      ['null', 'null', /null/],
      ['a text', '"config"', /"config"|\\"config\\"/],
      ['a number', '17', /17/],
      ['true', 'true', /true/],
      ['lists 1e6 deep', nested('[', ']', 1e6), /256 deep|does not|ends within/],
      ['lists 1e6 deep, open', '['.repeat(1e6), /256 deep|ends within/],
      ['lists 1e6 deep in a key', `{"a":${nested('[', ']', 1e6)}}`, /256 deep/],
      ['objects 1e6 deep', nested('{"a":', '}', 1e6, '1'), /256 deep/],
      ['a key twice', '{"a":1,"b":2,"a":3}', /"a" is there twice/],
      ['a key twice within', '{"x":[{"a":1,"a":1}]}', /"a" is there twice/],
      ['a key twice by escapes', '{"ab":1,"a\\u0062":2}', /"ab" is there twice/],
      ['__proto__', '{"__proto__":{"model_type":"llama"}}', /"__proto__"/],
      ['__proto__ within', '{"x":{"y":{"__proto__":null}}}', /"__proto__"/],
      ['__proto__ by escapes', '{"\\u005f_proto__":1}', /"__proto__"/],
      ['a byte order mark in the middle', '{\uFEFF"a":1}', /\uFEFF/],
      ['1e400', '{"a":1e400}', /1e400 is beyond/],
      ['-1e400', '{"a":[-1e400]}', /-1e400 is beyond/],
      ['an integer of 400 digits', `{"a":${'9'.repeat(400)}}`, /9999 is beyond/],
      ['an exponent of 400 digits', `{"a":1e${'9'.repeat(400)}}`, /9999 is beyond/],
      ['text behind it', '{"a":1} x', /"x" after the end/],
      ['two of them', '{"a":1}{"b":2}', /"\{" after the end/],
      ['a last comma', '{"a":1,}', /"\}" where a key/],
      ['a comment', '{/* c */"a":1}', /"\/" where a key/],
      ['single quotes', "{'a':1}", /"'" where a key/],
      ['a key without quotes', '{a:1}', /"a" where a key/],
      ['nan', '{"a":nan}', /"n" where a value/],
      ['undefined', '{"a":undefined}', /"u" where a value/],
      ['Python', '{"a":True}', /"T" where a value/],
      ['a number that begins with 0', '{"a":007}', /"0" where/],
      ['a hexadecimal number', '{"a":0x10}', /"x" where/],
      ['a tab in a text', '{"a":"\t"}', /control character/],
      ['NUL in a text', '{"a":"\0"}', /control character|NUL/],
      ['zeros', '\0'.repeat(64), /"\\u0000"|NUL/],
      ['a bad escape', '{"a":"\\x41"}', /means nothing/],
      ['YAML', 'model_type: llama\n', /"m" where a value/],
      ['a page of HTML', '<!DOCTYPE html><html>404</html>', /"<" where a value/],
      ['a Git LFS pointer', 'version https://git-lfs.github.com/spec/v1', /"v" where a value/],
      ['a pickle', '\x80\x02}q\0.', /UTF-8|where a value|NUL/],
    ] as const
  ).map(([name, text, says]) => [name, Buffer.from(text), says] as const),
];

/** Puts `bytes` in the place of a file. */
export const contents =
  (bytes: Uint8Array): Put =>
  (path) =>
    writeFileSync(path, bytes);

/** A folder with copies of some files of another. */
export function copyOf(folder: string, files: readonly string[], to: string): string {
  mkdirSync(to, { recursive: true });
  for (const file of files) copyFileSync(`${folder}/${file}`, `${to}/${file}`);
  return to;
}

/**
 * The promise of every case: an error of Attune that names the file, says what is wrong and what to
 * do.
 */
export async function expectRefusal(
  run: () => Promise<unknown>,
  path: string,
  code: RegExp,
  says: RegExp,
): Promise<void> {
  const error = await run().then(
    (value) => {
      throw new Error(`accepted: ${String(value)}`);
    },
    (reason: unknown) => reason,
  );
  if (!AttuneError.isInstance(error)) throw error;
  expect(error.code).toMatch(code);
  expect(error.message).toContain(path);
  expect(error.description).toMatch(says);
  expect(error.description.length).toBeLessThan(2000);
  expect(error.remedy).toBeTruthy();
}
