import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { main } from '@attune/cli';
import { displayWidth } from '@attune/core/util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { fixture } from '../../core/test/models/support.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'attune-cli-'));
});
afterAll(() => rm(folder, { recursive: true }));

async function attune(...args: string[]) {
  const out: string[] = [];
  const err: string[] = [];
  const status = await main(args, { out: (t) => out.push(t), err: (t) => err.push(t) });
  return { status, out: out.join('\n'), err: err.join('\n') };
}

const write = async (name: string, content: string | Uint8Array) => {
  const file = join(folder, name);
  await writeFile(file, content);
  return file;
};

const lines = [
  { prompt: 'Say a', completion: 'a', score: 1 },
  { prompt: 'SAY  A', completion: 'a', score: 0.5 },
  { prompt: 'Say b', completion: null, tags: ['x'] },
  { prompt: '\u001b[31mred \u202eevil\nnext مرحبا 漢字', completion: 'x'.repeat(5000), score: 2 },
].map((row) => JSON.stringify(row));

test('what is in a file, within 80 columns', async () => {
  const content = [...lines.slice(0, 2), '{"prompt": "cut', ...lines.slice(2)].join('\n');
  const file = await write('rows.jsonl.gz', gzipSync(content));
  const { status, out } = await attune('data', 'inspect', file, '--rows', '4');
  expect(status).toBe(1);
  for (const line of out.split('\n')) expect(displayWidth(line)).toBeLessThanOrEqual(80);
  expect(out).toMatch(/format +JSON Lines, compressed by gzip/);
  expect(out).toMatch(/rows +4\n/);
  expect(out).toMatch(/problems +1 place is no row\n/);
  expect(out).toMatch(/schema +prompt-completion 75 %, prompt 25 %/);
  expect(out).toMatch(/duplicates +1 row repeats the text of another \(25 %\)/);
  expect(out).toMatch(/languages +und 75 %, \w+ 25 %\n|languages +und 100 %\n/);
  expect(out).toMatch(/ {2}line 3 {2}\S/);
  expect(out).toMatch(/completion +text 75 %?, null 25 %|completion +text, null 25 %/);
  expect(out).toMatch(/score +integer 50 %, number 25 %, absent 25 %/);
  expect(out).toMatch(/tags +list, absent 75 %/);
  expect(out).toMatch(/ {2}line 5\n {4}prompt +\\u001b\[31mred \\u202eevil⏎next مرحبا 漢字\n/);
  expect([...out].some((c) => c !== '\n' && /\p{Cc}/u.test(c))).toBe(false);
});

test('languages: of all rows, or of some at equal distances', async () => {
  const two = [
    'The dog sleeps under the table, and the cat is on it.',
    'Der Hund schläft unter dem Tisch, und die Katze liegt darauf.',
  ];
  const rows = Array.from({ length: 6000 }, (_, i) =>
    JSON.stringify({ text: two[i % 3 === 0 ? 1 : 0] }),
  );
  const some = await attune(
    'data',
    'inspect',
    await write('some.jsonl', rows.slice(0, 30).join('\n')),
  );
  expect(some.out).toMatch(/languages +en 66.7 %, de 33.3 %\n/);
  const all = await attune('data', 'inspect', await write('all.jsonl', rows.join('\n')));
  expect(all.out).toMatch(/languages +en 66.7 %, de 33.3 % \(of 3,000 rows\)\n/);
});

test('tokens are counted by a tokenizer; all of it as JSON', async () => {
  const file = await write('rows.jsonl', lines.slice(0, 3).join('\n'));
  const { status, out } = await attune(
    'data',
    'inspect',
    file,
    '--tokenizer',
    fixture('tokenizers/bpe-llama3'),
    '--json',
  );
  expect(status).toBe(0);
  const report = JSON.parse(out);
  expect(report).toMatchObject({
    rows: 3,
    problems: 0,
    format: { name: 'JSON Lines', compression: null, encoding: 'utf-8' },
    characters: { least: 5, median: 7, p95: 8, largest: 8 },
  });
  expect(report.tokens.least).toBeGreaterThan(0);
  expect(report.firstRows).toHaveLength(3);
});

test('other formats; files that are none, or empty', async () => {
  const csv = await attune('data', 'inspect', await write('a.csv', 'text,n\nhello,1\nyou,2\n'));
  expect(csv).toMatchObject({ status: 0, out: expect.stringMatching(/format +CSV\n/) });
  expect(csv.out).toMatch(/schema +text\n/);
  const json = await attune('data', 'inspect', await write('a.json', '[{"text":"a"}]'));
  expect(json.out).toMatch(/format +JSON\n/);
  const empty = await attune('data', 'inspect', await write('b.jsonl', ''));
  expect(empty.status).toBe(1);
  const zip = await attune('data', 'inspect', await write('c.jsonl', 'PK\x03\x04rest'));
  expect(zip).toMatchObject({ status: 1, out: expect.stringMatching(/zip archive/) });
  const none = await attune('data', 'inspect', join(folder, 'none.jsonl'));
  expect(none).toMatchObject({ status: 2, err: expect.stringMatching(/DATA_FILE/) });
  const isFolder = await attune('data', 'inspect', folder);
  expect(isFolder).toMatchObject({ status: 2, err: expect.stringMatching(/DATA_FILE/) });
});

test('what is wrong is told to its end, on as many lines as it takes', async () => {
  const csv = await attune(
    'data',
    'inspect',
    await write('a.csv', Buffer.from('n\nJos\xe9', 'latin1')),
  );
  expect(csv.out).toMatch(/rows +none\n/);
  expect(csv.out).toMatch(/duplicates +-\n/);
  expect(csv.out).toMatch(/encoding, name it, e\.g\. encoding:\s+"windows-1252"\.$/m);
  const mixed = [1, 'x', null, [1], {}, true, 1.5].map((a) => JSON.stringify({ a })).join('\n');
  const { out } = await attune('data', 'inspect', await write('m.jsonl', mixed));
  expect(out).toMatch(/boolean\n {12}14\.3 %, number 14\.3 %, null 14\.3 %\n/);
  for (const line of (out + csv.out).split('\n'))
    expect(displayWidth(line)).toBeLessThanOrEqual(80);
});

test('a wrong command line is explained', async () => {
  const fails = async (...args: string[]) => {
    const { status, err } = await attune('data', ...args);
    expect(status).toBe(2);
    return err;
  };
  expect(await fails()).toMatch(/data needs a command/);
  expect(await fails('inspekt', 'x')).toMatch(/Did you mean "data inspect"\?/);
  expect(await fails('inspect')).toMatch(/no FILE is given/);
  expect(await fails('inspect', 'a', 'b')).toMatch(/one file at a time/);
  expect(await fails('inspect', 'a', '--rows', '-1.5')).toMatch(/rows/);
  expect(await fails('inspect', 'a', '--row')).toMatch(/--row/);
  expect((await attune('data', '--help')).out).toMatch(/attune data inspect FILE/);
});
