import { Buffer } from 'node:buffer';
import { gzipSync } from 'node:zlib';
import { isProblem, pipeline, type ReadRowsOptions } from '@attune/data';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Files } from './reading.js';
import { skippedFrame, ZSTD_ROWS, zstdFrame } from './zstdFrames.js';

// Broken and odd files: as many places as were planted come out, each as a row or a problem, and
// no file takes long.

let files: Files;
beforeAll(async () => {
  files = await Files.create();
});
afterAll(() => files.remove());

/** What a file is called, what is in it, the rows and the problems that were planted. */
type Case = readonly [
  name: string,
  bytes: string | Buffer,
  rows: number,
  problems: number,
  options?: ReadRowsOptions,
];

const line = (i: number): string => JSON.stringify({ id: i, text: `row ${i}` });
const lines = (from: number, to: number, end = '\n'): string =>
  Array.from({ length: to - from }, (_, i) => line(from + i) + end).join('');
const utf16 = (text: string): Buffer => Buffer.from(`\ufeff${text}`, 'utf16le');
const swapped = (bytes: Buffer): Buffer => Buffer.from(bytes).swap16();
const joined = (...parts: (string | Buffer)[]): Buffer =>
  Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : part)));
const flipped = (bytes: Buffer, at: number, bit = 1): Buffer => {
  const copy = Buffer.from(bytes);
  copy[at]! ^= bit;
  return copy;
};
const array = `[\n${[0, 1, 2].map(line).join(',\n')}\n]\n`;
const pretty = JSON.stringify([{ id: 0, list: [{ a: 1 }] }, { id: 1 }, { id: 2 }], null, 2);
const zipped = gzipSync(lines(0, 5));
const deep = (depth: number): string => `{"a":${'['.repeat(depth)}${']'.repeat(depth)}}\n`;

const cases: readonly Case[] = [
  // JSON Lines
  ['empty.jsonl', '', 0, 0],
  ['blanks.jsonl', ' \n\t\r\n\n   ', 0, 0],
  ['no end.jsonl', lines(0, 3).trimEnd(), 3, 0],
  ['crlf.jsonl', lines(0, 3, '\r\n'), 3, 0],
  ['cr.jsonl', lines(0, 3, '\r'), 3, 0],
  ['all ends.jsonl', lines(0, 2) + lines(2, 4, '\r\n') + lines(4, 6, '\r'), 6, 0],
  ['blank lines.jsonl', lines(0, 3, '\n\n \n'), 3, 0],
  ['bom.jsonl', `\ufeff${lines(0, 3)}`, 3, 0],
  ['bom within.jsonl', `${lines(0, 2)}\ufeff${lines(2, 4)}`, 4, 0],
  ['bom alone.jsonl', '\ufeff', 0, 0],
  ['broken line.jsonl', `${lines(0, 2)}{"id": 2,\n${lines(3, 5)}`, 4, 1],
  ['cut line.jsonl', lines(0, 3).slice(0, -9), 2, 1],
  ['trailing commas.jsonl', lines(0, 3, ',\n'), 0, 3],
  ['scalars.jsonl', '1\n"a"\nnull\ntrue\n[]\n{}\n', 1, 5],
  ['single quotes.jsonl', '{\'a\': 1}\n{"a": 1}\n', 1, 1],
  ['nan.jsonl', '{"a":NaN}\n{"a":-Infinity}\n{"a":1}\n', 1, 2],
  ['nan as null.jsonl', '{"a":NaN}\n{"a":-Infinity}\n{"a":1}\n', 3, 0, { nonFinite: 'null' }],
  ['beyond float64.jsonl', '{"a":1e999}\n{"a":-1e999}\n{"a":1}\n', 1, 2],
  ['large integers.jsonl', '{"a":9007199254740993}\n{"a":-18446744073709551616}\n', 2, 0],
  ['huge integer.jsonl', `{"a":${'9'.repeat(100_000)}}\n{"a":1}\n`, 1, 1],
  ['same key.jsonl', '{"a":1,"a":2}\n{"a":1}\n', 1, 1],
  ['same key within.jsonl', '{"a":[{"b":1,"b":2}]}\n{"a":1}\n', 1, 1],
  ['same key, last.jsonl', '{"a":1,"a":2}\n{"a":1}\n', 2, 0, { duplicateKeys: 'last' }],
  ['proto.jsonl', '{"__proto__":{"a":1}}\n{"\\u005f_proto__":1}\n{"a":1}\n', 1, 2],
  ['constructor.jsonl', '{"constructor":{"prototype":1},"toString":2}\n', 1, 0],
  ['deep.jsonl', `${deep(200)}${deep(100_000)}${deep(300)}${line(0)}`, 2, 2],
  ['deep and open.jsonl', `${line(0)}\n${'['.repeat(200_000)}\n${'{"a":'.repeat(100_000)}\n`, 1, 2],
  [
    'long line.jsonl',
    `${lines(0, 2)}{"a":"${'x'.repeat(3e6)}"}\n${lines(2, 4)}`,
    4,
    1,
    { maxRowBytes: 1e6 },
  ],
  ['long line, allowed.jsonl', `${lines(0, 2)}{"a":"${'x'.repeat(3e6)}"}\n${lines(2, 4)}`, 5, 0],
  ['long last line.jsonl', `${lines(0, 2)}{"a":"${'x'.repeat(3e6)}`, 2, 1, { maxRowBytes: 1e6 }],
  ['nul.jsonl', `${lines(0, 2)}\0\0\0\n{"a":"\0"}\n{"a":"\\u0000"}\n`, 3, 2],
  ['zeros at the end.jsonl', joined(lines(0, 3), Buffer.alloc(3e6)), 3, 1],
  ['latin1.jsonl', Buffer.from('{"a":"é"}\n{"a":"e"}\n', 'latin1'), 1, 1],
  [
    'latin1, named.jsonl',
    Buffer.from('{"a":"é"}\n{"a":"e"}\n', 'latin1'),
    2,
    0,
    { encoding: 'latin1' },
  ],
  [
    'cut character.jsonl',
    joined('{"a":"', Buffer.from('€').subarray(0, 2), '"}\n', lines(0, 2)),
    2,
    1,
  ],
  ['overlong.jsonl', joined('{"a":"', Buffer.from([0xc0, 0x80]), '"}\n', lines(0, 2)), 2, 1],
  [
    'surrogates in UTF-8.jsonl',
    joined('{"a":"', Buffer.from([0xed, 0xa0, 0x80]), '"}\n', lines(0, 2)),
    2,
    1,
  ],
  ['half a pair, escaped.jsonl', '{"a":"\\ud83d"}\n', 1, 0],
  ['utf16le.jsonl', utf16(lines(0, 3)), 3, 0],
  ['utf16be.jsonl', swapped(utf16(lines(0, 3))), 3, 0],
  ['utf16 without mark.jsonl', utf16(lines(0, 3)).subarray(2), 3, 0],
  ['utf16 odd.jsonl', joined(utf16(lines(0, 3)), 'x'), 3, 1],
  ['utf16 half a pair.jsonl', utf16(`{"a":"\ud83d"}\n${lines(0, 3)}`), 3, 1],
  ['utf32.jsonl', joined(Buffer.from([0xff, 0xfe, 0, 0]), Buffer.from('{\0\0\0}\0\0\0')), 0, 1],
  ['separators in a text.jsonl', '{"a":"\u2028\u2029\u0085"}\n', 1, 0],
  ['mixed types.jsonl', '{"a":1}\n{"a":"x"}\n{"a":[{"b":null}]}\n{"c":1.5}\n{}\n', 5, 0],
  ['array as lines.jsonl', array, 3, 0],
  // Arrays, and objects over lines
  ['array.json', array, 3, 0],
  ['pretty.json', pretty, 3, 0],
  ['one line.json', JSON.stringify([0, 1, 2].map((id) => ({ id }))), 3, 0],
  ['empty array.json', '[]', 0, 0],
  ['array without end.json', array.trim().slice(0, -1), 3, 1],
  ['array cut in a row.json', array.slice(0, -12), 2, 1],
  ['trailing comma.json', '[{"a":1},{"a":2},]', 2, 0],
  ['two commas.json', '[{"a":1},,{"a":2}]', 2, 1],
  ['no comma.json', '[{"a":1}\n{"a":2} {"a":3}]', 3, 0],
  ['array of scalars.json', '[1, "a,]", null, [1], {}]', 1, 4],
  ['behind the array.json', `${array}garbage { [\n`, 3, 1],
  ['two arrays.json', array + array, 6, 0],
  ['bracket in array.json', '[\n{"a":1},\n{"a":[2},\n{"a":3},\n{"a":4}\n]', 3, 1],
  ['quote in array.json', '[\n{"a":1},\n{"a":"2},\n{"a":3},\n{"a":4}\n]', 3, 1],
  ['open row in array.json', '[\n{"a":1},\n{"a":{"b":2,\n{"a":3},\n{"a":4}\n]', 3, 1],
  ['quote in pretty.json', pretty.replace('"id": 1', '"id: 1'), 2, 1],
  ['bracket in pretty.json', pretty.replace('"a": 1\n      }', '"a": 1\n      ]'), 2, 1],
  ['objects over lines.json', '{\n "a": 1\n}\n{\n "a": {\n  "b": 2\n }\n}\n', 2, 0],
  ['object over lines.json', JSON.stringify({ a: { b: [1, { c: 2 }] } }, null, 4), 1, 0],
  [
    'long row in array.json',
    `[${line(0)},{"a":"${'x'.repeat(3e6)}"},${line(1)}]`,
    2,
    1,
    { maxRowBytes: 1e6 },
  ],
  ['latin1 in array.json', Buffer.from('[{"a":"é"},{"a":"e"}]', 'latin1'), 1, 1],
  ['deep array.json', '['.repeat(300_000), 0, 1],
  // Compressed
  ['gzip.jsonl.gz', zipped, 5, 0],
  ['gzip without name.jsonl', zipped, 5, 0],
  ['gzip twice.jsonl.gz', gzipSync(zipped), 5, 0],
  ['gzip members.jsonl.gz', joined(zipped, gzipSync(''), gzipSync(lines(5, 9))), 9, 0],
  ['gzip cut before the sum.jsonl.gz', zipped.subarray(0, -8), 5, 1],
  ['gzip of half a header.jsonl.gz', zipped.subarray(0, 5), 0, 1],
  ['gzip of another sum.jsonl.gz', flipped(zipped, zipped.length - 6), 5, 1],
  ['gzip and zeros.jsonl.gz', joined(zipped, Buffer.alloc(512)), 5, 0],
  ['gzip and garbage.jsonl.gz', joined(zipped, 'garbage'), 5, 1],
  ['plain with gz name.jsonl.gz', lines(0, 3), 3, 0],
  ['zstd.jsonl.zst', ZSTD_ROWS, 40, 0],
  [
    'zstd frames.jsonl.zst',
    joined(ZSTD_ROWS, zstdFrame(Buffer.from(lines(0, 3))), ZSTD_ROWS),
    83,
    0,
  ],
  [
    'zstd skipped frame.jsonl.zst',
    joined(skippedFrame(Buffer.alloc(70)), ZSTD_ROWS, skippedFrame(Buffer.alloc(3))),
    40,
    0,
  ],
  [
    'zstd small frames.jsonl.zst',
    joined(...[...lines(0, 4)].map((c) => zstdFrame(Buffer.from(c)))),
    4,
    0,
  ],
  ['zstd of nothing.jsonl.zst', zstdFrame(Buffer.alloc(0)), 0, 0],
  ['zstd cut before the sum.jsonl.zst', ZSTD_ROWS.subarray(0, -2), 40, 1],
  ['zstd of another sum.jsonl.zst', flipped(ZSTD_ROWS, ZSTD_ROWS.length - 1), 40, 1],
  ['zstd and garbage.jsonl.zst', joined(ZSTD_ROWS, 'garbage'), 40, 1],
  ['zstd cut.jsonl.zst', zstdFrame(Buffer.from(lines(0, 9))).subarray(0, 60), 0, 1],
  ['zstd in gzip.jsonl', gzipSync(ZSTD_ROWS), 40, 0],
  ['xz.jsonl.xz', Buffer.from('\xfd7zXZ\0\0\x04', 'latin1'), 0, 1],
  ['zip.jsonl', Buffer.from('PK\x03\x04\0\0', 'latin1'), 0, 1],
  // CSV and TSV
  ['plain.csv', 'a,b\n1,2\n3,4\n', 2, 0],
  ['quotes.csv', 'a,b\n"1,""x""","two\nlines"\n3,4\n', 2, 0],
  ['ragged.csv', 'a,b\n1,2\n1\n1,2,3\n3,4\n', 2, 2],
  ['semicolons.csv', 'a;b\n1,5;2\n3;4\n', 2, 0],
  ['tabs.csv', 'a\tb\n1,5\t2\n3\t4\n', 2, 0],
  ['excel.csv', 'sep=|\na|b\n1|2\n', 1, 0],
  ['same columns.csv', 'a,a,b\n1,2,3\n', 1, 1],
  ['nameless column.csv', ',a\n0,x\n1,y\n', 2, 0],
  ['proto column.csv', '__proto__,a\n1,2\n', 1, 1],
  ['header alone.csv', 'a,b\n', 0, 0],
  ['empty.csv', '', 0, 0],
  ['blank lines.csv', '\n\na,b\n\n1,2\n   \n3,4\n\n', 2, 0],
  ['no header.csv', '1,2\n3,4\n', 2, 0, { header: false }],
  ['open quote.csv', 'a,b\n1,2\n"3,4\n5,6\n7,8\n', 3, 1],
  ['text behind quote.csv', 'a,b\n"1"x,2\n3,4\n', 1, 1],
  ['quote within.csv', 'a,b\n5" disk,2\n3,4\n', 2, 0],
  ['crlf.csv', 'a,b\r\n1,"2\r\n3"\r\n4,5\r\n', 2, 0],
  ['cr.csv', 'a,b\r1,2\r3,4\r', 2, 0],
  ['latin1.csv', Buffer.from('a,b\né,2\n3,4\n', 'latin1'), 1, 1],
  ['utf16.csv', utf16('a,b\né,2\n3,4\n'), 2, 0],
  ['nul.csv', 'a,b\n\0,2\n3,4\n', 1, 1],
  ['long row.csv', `a,b\n"${'x'.repeat(6000)}",2\n3,4\n`, 1, 1, { maxRowBytes: 5000 }],
  ['json.csv', lines(0, 3), 3, 0],
  ['quotes.tsv', 'a\tb\n"open\t2\n3\t4 "x"\n', 2, 0],
  ['csv.csv.gz', gzipSync('a,b\n1,2\n').subarray(0, -8), 1, 1],
  // Text
  ['lines.txt', 'one\n\ntwo\r\nthree\rfour', 4, 0],
  ['paragraphs.txt', 'one\ntwo\n\n\nthree\n \nfour\n', 3, 0, { sampleBy: 'paragraph' }],
  ['document.txt', '\n one\n\ntwo\n', 1, 0, { sampleBy: 'document' }],
  ['blank document.txt', '\n \n', 0, 0, { sampleBy: 'document' }],
  ['long document.txt', 'word '.repeat(1e6), 0, 1, { sampleBy: 'document', maxRowBytes: 1e6 }],
  ['latin1.txt', Buffer.from('é\ne\n', 'latin1'), 1, 1],
  ['cut.txt.gz', gzipSync('one\ntwo\nthree').subarray(0, -4), 2, 1],
  // Not what the name says
  ['lines.parquet', lines(0, 2), 2, 0],
  ['prose.parquet', 'Once upon a time', 0, 1],
  ['prose.arrow', 'Once upon a time', 0, 1],
  ['empty.parquet', '', 0, 1],
  ['empty.arrow', '', 0, 1],
  ['feather1.feather', joined('FEA1', Buffer.alloc(40)), 0, 1],
  ['lfs.parquet', 'version https://git-lfs.github.com/spec/v1\noid sha256:0\n', 0, 1],
];

test('each case has a name of its own', () => {
  expect(new Set(cases.map(([name]) => name)).size).toBe(cases.length);
  expect(cases.length).toBeGreaterThan(100);
});

test.each(cases.map((each) => [each[0], each] as const))('%s', async (_name, each) => {
  const [name, bytes, rows, problems, options] = each;
  const before = process.cpuUsage();
  const reads = await files.read(name, bytes, options);
  // Time of the processor: others may use the machine as well.
  const { user, system } = process.cpuUsage(before);
  expect((user + system) / 1e3).toBeLessThan(1000);
  const found = reads.filter(isProblem);
  expect(
    found.map(({ problem }) => problem).filter((text) => !/^[^\n]{10,}\.$/.test(text)),
  ).toEqual([]);
  expect({ rows: reads.length - found.length, problems: found.length }).toEqual({ rows, problems });

  const { report } = await pipeline(reads).validate().dedupe().collect();
  const dropped = Object.values(report.dropped).reduce((sum, count) => sum + count, 0);
  expect(report.rowsIn).toBe(reads.length);
  expect(report.rowsOut + report.quarantined + dropped).toBe(reads.length);
});
