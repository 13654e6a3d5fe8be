import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { fromHub } from '@attune/data';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { all, Files, told } from './reading.js';

/** Speaks as much of the Hub's protocol as fetching a data set needs. */
function serve(branches: Readonly<Record<string, Readonly<Record<string, Buffer>>>>): {
  server: Server;
  requests: string[];
} {
  const requests: string[] = [];
  const shas = new Map(
    Object.keys(branches).map((name) => [createHash('sha1').update(name).digest('hex'), name]),
  );
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url!, 'http://local').pathname);
    requests.push(path);
    const [, revision] = /^\/api\/datasets\/owner\/set\/revision\/(.+)$/.exec(path) ?? [];
    const [, sha] = /^\/api\/datasets\/owner\/set\/tree\/(.+)$/.exec(path) ?? [];
    const [, of, file] = /^\/datasets\/owner\/set\/resolve\/([^/]+)\/(.+)$/.exec(path) ?? [];
    const branch = branches[shas.get(sha ?? of ?? '') ?? ''];
    if (revision !== undefined && branches[revision])
      response.end(JSON.stringify({ sha: [...shas].find(([, name]) => name === revision)![0] }));
    else if (sha !== undefined && branch)
      response.end(
        JSON.stringify(
          Object.entries(branch).map(([name, bytes]) => ({
            type: 'file',
            path: name,
            size: bytes.length,
            oid: createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex'),
          })),
        ),
      );
    else if (file !== undefined && branch?.[file]) response.end(branch[file]);
    else response.writeHead(404).end();
  });
  return { server, requests };
}

let files: Files;
let hub: ReturnType<typeof serve>;
let options: { hubUrl: string; cacheDir: string };
const table = join(import.meta.dirname, '../fixtures/tables/chats-snappy.parquet');

beforeAll(async () => {
  files = await Files.create();
  const parquet = await readFile(table);
  hub = serve({
    main: {
      'README.md': Buffer.from('a set'),
      'data/train-0.jsonl.gz': gzipSync('{"a":1}\n'),
      'data/train-1.jsonl.gz': gzipSync('{"a":2}\n{"a":3}\n'),
    },
    'refs/convert/parquet': {
      'main/train/0000.parquet': parquet,
      'main/train/0001.parquet': parquet,
      'main/partial-test/0000.parquet': parquet,
      'other/train/0000.parquet': parquet,
    },
  });
  await new Promise<void>((done) => hub.server.listen(0, '127.0.0.1', done));
  const { port } = hub.server.address() as AddressInfo;
  options = { hubUrl: `http://127.0.0.1:${port}`, cacheDir: join(files.folder, 'cache') };
});
afterAll(async () => {
  hub.server.closeAllConnections();
  await new Promise((done) => hub.server.close(done));
  await files.remove();
});

test('the Parquet files of a config and a split, fetched once', async () => {
  const rows = fromHub('owner/set', { config: 'main', ...options });
  expect(hub.requests).toEqual([]);
  expect((await all(rows)).length).toBe(80);
  const asked = hub.requests.length;
  expect((await rows.files()).map((file) => file.replace(/.*snapshots\/[0-9a-f]+\//, ''))).toEqual([
    'main/train/0000.parquet',
    'main/train/0001.parquet',
  ]);
  expect((await all(rows)).length).toBe(80);
  expect(hub.requests.length).toBe(asked);
  // Python's libraries look for it there.
  expect((await rows.files())[0]).toContain(join(options.cacheDir, 'datasets--owner--set'));
  const cached = fromHub('owner/set', { config: 'main', ...options, localFilesOnly: true });
  expect((await all(cached)).length).toBe(80);
  expect(hub.requests.length).toBe(asked);
});

test('files of the repository itself, in any format', async () => {
  const rows = fromHub('owner/set', { files: 'data/*.jsonl.gz', ...options });
  expect(told(await all(rows))).toEqual([{ a: 1 }, { a: 2 }, { a: 3 }]);
});

test.each([
  [
    {},
    'owner/set has 2 configs, and none was chosen.\n  Fix: Pass config: one of "main", "other".',
  ],
  [{ config: 'man' }, 'owner/set has no config "man"'],
  [{ config: 'main', split: 'dev' }, 'Pass split: one of "train", "partial-test".'],
  [{ config: 'main', split: 'test' }, 'Read that with split: "partial-test"'],
  [{ files: 'date/*' }, 'no file of owner/set matches "date/*".\n  Fix: It has "README.md"'],
  [{ revision: 'v9' }, 'HUB_NOT_FOUND: there is no data set "owner/set" (revision "v9")'],
])('%j is an error that says what there is', async (wrong, message) => {
  await expect(fromHub('owner/set', { ...options, ...wrong }).files()).rejects.toThrow(message);
});

test('a name that is none, an option that is none', async () => {
  await expect(fromHub('a/b/c', options).files()).rejects.toThrow('HUB_NAME');
  expect(() => fromHub('owner/set', { subset: 'main' } as never)).toThrow(/config/);
});
