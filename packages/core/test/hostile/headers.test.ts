import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SafetensorsFile, WeightFolder } from '@attune/core/io';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { temporaryFolder } from '../trainer/support.js';
import { expectRefusal } from './cases.js';

let root: string;
beforeAll(async () => {
  root = await temporaryFolder();
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** A file of a header as it stands, and of zeros behind it. */
function file(header: string | Uint8Array, dataBytes = 0, headerBytes?: bigint): Buffer {
  const text = Buffer.from(header as Uint8Array);
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(headerBytes ?? BigInt(text.length));
  return Buffer.concat([prefix, text, Buffer.alloc(dataBytes)]);
}
const entry = (dtype: string, shape: string, offsets: string) =>
  `{"dtype":${dtype},"shape":${shape},"data_offsets":${offsets}}`;
const one = (dtype: string, shape: string, offsets: string) =>
  `{"a":${entry(dtype, shape, offsets)}}`;
const good = entry('"F32"', '[1]', '[0,4]');

let files = 0;
async function refused(bytes: Buffer, code: string, says: RegExp): Promise<void> {
  const path = join(root, `${files++}.safetensors`);
  writeFileSync(path, bytes);
  await expectRefusal(
    () => SafetensorsFile.open(path),
    path,
    new RegExp(`^SAFETENSORS_${code}$`),
    says,
  );
  rmSync(path);
}

const header: readonly (readonly [string, string | Uint8Array, RegExp])[] = [
  ['nothing', '', /empty/],
  ['a byte order mark', `\uFEFF{"a":${good}}`, /begin with "\{"/],
  ['white space first', ` {"a":${good}}`, /begin with "\{"/],
  ['zeros', new Uint8Array(64), /begin with "\{"/],
  ['UTF-16', Buffer.from('\uFEFF{}', 'utf16le'), /begin with "\{"/],
  ['Latin-1', Buffer.from('{"é":1}', 'latin1'), /UTF-8.*byte 2/],
  ['half a character', Buffer.from('{"é').subarray(0, 3), /UTF-8.*byte 2/],
  ['a null', 'null', /begin with "\{"/],
  ['a text', '"{}"', /begin with "\{"/],
  ['cut off', '{"a":{"dtype":"F32"', /nothing/],
  ['a tensor twice', `{"a":${good},"a":${good}}`, /"a" is there twice/],
  ['a tensor twice by escapes', `{"a":${good},"\\u0061":${good}}`, /"a" is there twice/],
  ['a dtype twice', `{"a":{"dtype":"U8","dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, /twice/],
  ['metadata twice', '{"__metadata__":{},"__metadata__":{"a":"b"}}', /twice/],
  ['__proto__', `{"__proto__":${good}}`, /"__proto__"/],
  ['__proto__ in metadata', '{"__metadata__":{"__proto__":"a"}}', /"__proto__"/],
  ['metadata of lists', '{"__metadata__":{"a":[]}}', /__metadata__/],
  ['metadata that is none', '{"__metadata__":null}', /__metadata__ is null/],
  [
    'metadata of many numbers',
    `{"__metadata__":{${Array.from({ length: 1e5 }, (_, i) => `"${i}":1`)}}}`,
    /__metadata__/,
  ],
  ['lists 1e6 deep', `{"a":${'['.repeat(1e6)}`, /3 deep/],
  ['objects 1e6 deep', '{"a":'.repeat(1e6), /3 deep/],
  ['a shape of shapes', one('"F32"', '[[1]]', '[0,4]'), /3 deep/],
  [
    'two million tensors',
    `{${`"a":${good},`.repeat(1)}${Array.from({ length: 2e5 }, (_, i) => `"t${i}":${entry('"F32"', '[0]', '[0,0]')}`)}}`,
    /more values/,
  ],
  ['four million numbers', `{"a":{"shape":[${'1,'.repeat(4e6)}1]}}`, /more values/],
  ['text behind it', `{"a":${good}}x`, /"x" after/],
  ['a comma at the end', `{"a":${good},}`, /where a key/],
  ['an empty tensor', '{"a":{}}', /\{\}/],
  ['null for a tensor', '{"a":null}', /null/],
  ['a list for a tensor', '{"a":[]}', /\[\]/],
  ['no dtype', '{"a":{"shape":[1],"data_offsets":[0,4]}}', /expected \{ dtype/],
  ['a number for a dtype', one('32', '[1]', '[0,4]'), /expected \{ dtype/],
  ['no shape', '{"a":{"dtype":"F32","data_offsets":[0,4]}}', /expected \{ dtype/],
  ['a text for a shape', one('"F32"', '"1"', '[0,4]'), /expected \{ dtype/],
  ['an object for a shape', one('"F32"', '{"length":1}', '[0,4]'), /expected \{ dtype/],
  ['65 dimensions', one('"F32"', `[${Array(65).fill(1)}]`, '[0,4]'), /at most 64 sizes/],
  ['100,000 dimensions', one('"F32"', `[${Array(1e5).fill(1)}]`, '[0,4]'), /at most 64 sizes/],
  ...[
    '-1',
    '0.5',
    '1.0',
    '1e0',
    '-0',
    '9007199254740992',
    '1e400',
    'null',
    'true',
    '"1"',
    '1e15',
  ].map(
    (size) =>
      [`a size of ${size}`, one('"F32"', `[${size}]`, '[0,4]'), /sizes >= 0|beyond/] as const,
  ),
  ['one offset', one('"F32"', '[1]', '[0]'), /expected \{ dtype/],
  ['three offsets', one('"F32"', '[1]', '[0,4,8]'), /expected \{ dtype/],
  ['no offsets', '{"a":{"dtype":"F32","shape":[1]}}', /expected \{ dtype/],
  ['a name of a million letters', `{"${'a'.repeat(1e6)}":{}}`, /aaa/],
];

describe('a header that is refused', () => {
  test.each(header)('%s', (_, text, says) => refused(file(text, 4), 'HEADER', says));

  test.each([
    'Q4',
    'f32',
    'F8_E8M0',
    '',
    'constructor',
    '__proto__',
    'toString',
    'F32\0',
    'x'.repeat(1e6),
  ])('dtype %.20s', (dtype) =>
    refused(file(one(JSON.stringify(dtype), '[1]', '[0,4]'), 4), 'DTYPE', /unknown dtype/),
  );

  test.each([
    '[4,0]',
    '[-4,0]',
    '[0,-4]',
    '[0.5,4.5]',
    '[0,4.0]',
    '[0,"4"]',
    '[null,4]',
    '[0,18446744073709551616]',
    '[9007199254740992,9007199254740996]',
  ])('offsets %s', (offsets) =>
    refused(file(one('"F32"', '[1]', offsets), 4), 'OFFSETS', /0 <= begin/),
  );

  test.each([
    ['too few bytes', '[2]', '[0,4]'],
    ['too many', '[1]', '[0,8]'],
    ['none', '[1]', '[0,0]'],
    ['some for a size of zero', '[0]', '[0,4]'],
    ['2^80 elements', '[1099511627776,1099511627776]', '[0,4]'],
    ['2^53 elements', '[9007199254740991]', '[0,4]'],
    ['infinitely many, and zero', `[${Array(40).fill('1000000000000000')},0]`, '[0,0]'],
  ])('bytes: %s', (_, shape, offsets) =>
    refused(file(one('"F32"', shape, offsets), 4), 'SIZE', /needs|beyond/),
  );

  const two = (a: string, b: string, size = '[1]') =>
    `{"a":${entry('"F32"', '[1]', a)},"b":${entry('"F32"', size, b)}}`;
  test.each([
    ['the same bytes', two('[0,4]', '[0,4]'), 8, /"b".*overlaps "a"/],
    ['half of them', two('[0,4]', '[2,6]'), 6, /"b".*overlaps "a"/],
    ['a gap', two('[0,4]', '[8,12]'), 12, /gap of 4 bytes after "a"/],
    ['a gap at the start', two('[4,8]', '[8,12]'), 12, /gap of 4 bytes after the header/],
    ['a gap of 2^50 bytes', two('[0,4]', '[1125899906842624,1125899906842628]'), 8, /gap of/],
    ['an empty one within another', two('[0,4]', '[2,2]', '[0]'), 4, /overlaps/],
    ['an empty one beyond the end', two('[0,4]', '[8,8]', '[0]'), 4, /gap/],
    ['bytes of nobody', two('[0,4]', '[4,8]'), 9, /1 bytes follow/],
  ] as const)('layout: %s', (_, text, bytes, says) => refused(file(text, bytes), 'OFFSETS', says));

  test.each([
    ['nothing', Buffer.alloc(0), /0 bytes/],
    ['seven bytes', Buffer.alloc(7), /7 bytes/],
    ['a length of 2^63', file('{}', 0, 2n ** 63n), /9223372036854775808 bytes/],
    ['a length of 2^64 - 1', file('{}', 0, 2n ** 64n - 1n), /18446744073709551615 bytes/],
    ['a length of 2^53', file('{}', 0, 2n ** 53n), /9007199254740992 bytes/],
    ['one more than there is', file('{}', 0, 3n), /3 bytes/],
    ['no data', file(`{"a":${good}}`, 0), /only 0/],
    ['half the data', file(`{"a":${good}}`, 2), /only 2/],
    ['a Git LFS pointer', Buffer.from('version https://git-lfs.github.com/spec/v1'), /header has/],
    ['a zip archive', Buffer.from('PK\x03\x04\0\0\0\0\0\0\0\0'), /header/],
  ] as const)('length: %s', (_, bytes, says) => refused(bytes, '(TRUNCATED|HEADER)', says));
});

test('what is odd and right is read', async () => {
  const path = join(root, 'odd.safetensors');
  writeFileSync(
    path,
    file(
      `{"constructor":${good},"":${entry('"U8"', '[0]', '[4,4]')},"toString":${entry('"F32"', '[]', '[4,8]')},"1":${entry('"BOOL"', '[2,0,3]', '[8,8]')}}  `,
      8,
    ),
  );
  await using opened = await SafetensorsFile.open(path);
  expect([...opened.names].sort()).toEqual(['', '1', 'constructor', 'toString']);
  expect(opened.info('1').shape).toEqual([2, 0, 3]);
  expect(() => opened.info('valueOf')).toThrow(/SAFETENSORS_TENSOR_UNKNOWN/);
  expect(() => opened.info('__proto__')).toThrow(/SAFETENSORS_TENSOR_UNKNOWN/);
});

describe('an index that names', () => {
  const names = [
    '../../etc/x.safetensors',
    '..\\x.safetensors',
    '/etc/x.safetensors',
    'C:\\x.safetensors',
    'sub/model.safetensors',
    'x\0.safetensors',
    'model.bin',
    '.safetensors/../x',
    '',
    '..',
    1,
    null,
    [],
    { a: 'b' },
    true,
    `${'a'.repeat(1e6)}`,
  ];
  const open = async (index: string, code: RegExp, says: RegExp) => {
    const path = join(root, 'model.safetensors.index.json');
    writeFileSync(path, index);
    await expectRefusal(() => WeightFolder.open(root), root, code, says);
  };
  test.each(names)('%.40j', (name) =>
    open(JSON.stringify({ weight_map: { w: name } }), /^WEIGHTS_INDEX$/, /"w" is said to be in/),
  );
  test.each(['none.safetensors', '__proto__.safetensors', `${'é'.repeat(300)}.safetensors`])(
    'a shard that is not there: %.20s',
    (name) =>
      open(JSON.stringify({ weight_map: { w: name } }), /^WEIGHTS_SHARD_MISSING$/, /not there/),
  );
  test.each([
    '{}',
    '{"weight_map":{}}',
    '{"weight_map":[]}',
    '{"weight_map":null}',
    '{"weight_map":"a"}',
  ])('nothing: %s', (text) => open(text, /^WEIGHTS_INDEX$/, /no weight_map/));
});
