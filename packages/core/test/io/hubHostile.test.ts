import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { AttuneError, type HubOptions } from '@attune/core';
import type { HubProgress } from '@attune/core/io';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MODEL_FILES, resolveFolder } from '../../src/io/hub.js';
import { type HubServer, serveHub } from './hubServer.js';

const weights = Uint8Array.from({ length: 5000 }, (_, i) => (i * 7) % 251);
const files = {
  'config.json': new TextEncoder().encode('{"model_type":"llama"}'),
  'model.safetensors': weights,
};

let root: string;
let cacheDir: string;
let hub: HubServer;
let waits: number[];
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'attune-hub-'));
  cacheDir = join(root, 'cache');
  hub = await serveHub({ repo: 'owner/model', files });
  waits = [];
});
afterEach(async () => {
  await hub[Symbol.asyncDispose]();
  await rm(root, { recursive: true, force: true });
});

const timing = {
  wait: async (ms: number) => void waits.push(ms),
};
const fetchModel = (options: HubOptions = {}) =>
  resolveFolder(
    'owner/model',
    MODEL_FILES,
    { cacheDir, hubUrl: hub.url, timeoutMs: 2000, ...options },
    timing,
  );
const failure = async (options: HubOptions = {}): Promise<AttuneError> => {
  const error = await fetchModel(options).then(
    (folder) => new Error(`fetched to ${folder}`),
    (reason: unknown) => reason,
  );
  if (!AttuneError.isInstance(error)) throw error;
  expect(error.remedy).toBeTruthy();
  return error;
};

type Answer = (request: IncomingMessage, response: ServerResponse) => void;
const json = (response: ServerResponse, value: unknown, headers = {}) =>
  void response
    .writeHead(200, { 'content-type': 'application/json', ...headers })
    .end(typeof value === 'string' ? value : JSON.stringify(value));
/** Answers requests whose path matches. */
const on = (pattern: RegExp, answer: Answer, times = Number.POSITIVE_INFINITY) => {
  let left = times;
  hub.answer = (request, response) => {
    if (!pattern.test(request.url!) || left-- <= 0) return false;
    answer(request, response);
    return true;
  };
};
const everything = () => (existsSync(root) ? readdirSync(root, { recursive: true }) : []);

describe('a commit that is no commit', () => {
  it.each([
    '../../../../escape',
    '..',
    '',
    '/etc',
    'main',
    'A'.repeat(40),
    `${'a'.repeat(39)}/`,
    `${'a'.repeat(40)}\n`,
    `${'a'.repeat(40)}/../../x`,
    'a'.repeat(64),
    null,
    40,
    ['a'.repeat(40)],
    { toString: 'a' },
    undefined,
  ])('%j', async (sha) => {
    on(/\/api\//, (_, response) => json(response, { sha }));
    expect(await failure()).toMatchObject({ code: 'HUB_CORRUPT' });
    expect(everything()).toEqual([]);
  });

  it.each(['', 'null', '[]', '"a"', '{"sha":', '<html>', '{"sha":"a","sha":"b"}', '['.repeat(1e6)])(
    'an answer of %.20j',
    async (text) => {
      on(/\/api\//, (_, response) => json(response, text));
      expect(await failure()).toMatchObject({ code: 'HUB_CORRUPT' });
    },
  );

  it('another than was asked for', async () => {
    const sha = 'b'.repeat(40);
    on(/\/api\//, (_, response) => json(response, { sha: 'c'.repeat(40) }));
    expect((await failure({ revision: sha })).message).toContain(sha);
  });

  it('in the cache: nothing is taken from outside', async () => {
    const refs = join(cacheDir, 'models--owner--model', 'refs');
    await mkdir(refs, { recursive: true });
    await writeFile(join(refs, 'main'), '../../..');
    expect(await failure({ localFilesOnly: true })).toMatchObject({ code: 'HUB_NOT_CACHED' });
  });

  it.each(['..', '../x', '../../blobs/x', '/etc/passwd', 'a\0b', '', '.', '../refs-of-another/x'])(
    'a revision named %j',
    async (revision) => {
      expect((await failure({ revision })).code).toMatch(/HUB_NOT_FOUND/);
      expect((await failure({ revision, localFilesOnly: true })).code).toMatch(/HUB_NOT_FOUND/);
    },
  );
});

describe('a list of files with', () => {
  const oid = 'a'.repeat(40);
  const file = (changes: object) => ({
    type: 'file',
    path: 'config.json',
    size: 5,
    oid,
    ...changes,
  });
  it.each<[string, unknown]>([
    ['..', [file({ path: '../config.json' })]],
    ['.. within', [file({ path: 'a/../../config.json' })]],
    ['an absolute path', [file({ path: '/etc/config.json' })]],
    ['NUL', [file({ path: 'config.json\0' })]],
    ['a backslash', [file({ path: '..\\config.json' })]],
    ['a drive', [file({ path: 'C:config.json' })]],
    ['an empty part', [file({ path: 'a//config.json' })]],
    ['no name', [file({ path: '' })]],
    ['a name that is no text', [file({ path: 7 })]],
    ['a hash that leads out', [file({ oid: `../../${'a'.repeat(34)}` })]],
    ['a short hash', [file({ oid: 'abc' })]],
    ['no hash', [file({ oid: null })]],
    ['a hash of large files that leads out', [file({ lfs: { oid: '../x', size: 5 } })]],
    ['a negative size', [file({ size: -1 })]],
    ['half a byte', [file({ size: 0.5 })]],
    ['2^60 bytes', [file({ size: 2 ** 60 })]],
    ['a text for a size', [file({ size: '5' })]],
    ['no object', [null]],
    ['a number', 7],
    ['an object', {}],
  ])('%s', async (_, list) => {
    on(/\/tree\//, (__, response) => json(response, list));
    expect(await failure()).toMatchObject({ code: 'HUB_CORRUPT' });
    expect(
      everything().filter((name) => !/^cache(\/models--owner--model)?$/.test(`${name}`)),
    ).toEqual([]);
  });

  it('pages without end', async () => {
    on(/\/tree\//, (request, response) =>
      json(response, [], { link: `<http://${request.headers.host}${request.url}>; rel="next"` }),
    );
    expect(await failure()).toMatchObject({
      code: 'HUB_PROTOCOL',
      message: expect.stringMatching(/100 pages/),
    });
  });

  it('an answer without end, also one that is unpacked on the way', async () => {
    const bomb = gzipSync(Buffer.alloc(2 ** 26, ' '));
    on(
      /\/tree\//,
      (_, response) => void response.writeHead(200, { 'content-encoding': 'gzip' }).end(bomb),
    );
    expect((await failure()).message).toMatch(/HUB_PROTOCOL: .*more than 16777216 bytes/);
    on(/\/tree\//, (_, response) => {
      response.writeHead(200);
      const more = () =>
        void (response.destroyed || response.write('          '.repeat(10_000), more));
      more();
    });
    expect((await failure()).message).toMatch(/HUB_PROTOCOL: .*more than 16777216 bytes/);
  });

  it('its pages on this server', async () => {
    let page = 0;
    on(/\/tree\//, (request, response) => {
      if (page++ > 0) return json(response, []);
      const list = [{ type: 'directory', path: 'x', oid, size: 0 }];
      json(response, list, { link: `<${request.url}&cursor=2>; rel="next"` });
    });
    await fetchModel();
    expect(page).toBe(2);
  });
});

describe('a server that keeps one waiting', () => {
  const silent: [string, Answer][] = [
    ['before it answers', () => {}],
    ['after its headers', (_, response) => void response.writeHead(200).write('')],
    ['within its answer', (_, response) => void response.writeHead(200).write('{')],
  ];
  for (const [when, answer] of silent)
    for (const path of [/\/revision\//, /\/tree\//, /\/resolve\/.*safetensors/])
      it(`${when}, ${path.source}`, async () => {
        on(path, answer);
        const error = await failure({ timeoutMs: 30 });
        expect(error.message).toMatch(/HUB_UNREACHABLE: .*nothing came for 0.03 s/);
        expect(waits).toEqual([400, 800, 1600]);
      });

  it('once: it is asked again', async () => {
    on(/\/resolve\/.*safetensors/, (_, response) => void response.writeHead(200).write('\0'), 1);
    const folder = await fetchModel({ timeoutMs: 200 });
    expect(existsSync(join(folder, 'model.safetensors'))).toBe(true);
  }, 10_000);

  it.each([
    ['7', 7000],
    ['0', 0],
    ['86400', 60_000],
    ['soon', 400],
  ])('Retry-After: %s', async (value, ms) => {
    for (const status of [429, 503]) {
      waits = [];
      await rm(cacheDir, { recursive: true, force: true });
      on(
        /\/revision\//,
        (_, response) => void response.writeHead(status, { 'retry-after': value }).end(),
        1,
      );
      await fetchModel();
      expect(waits).toEqual([ms]);
    }
  });

  it('Retry-After with a date, and for ever', async () => {
    const at = new Date(Date.now() + 20_000).toUTCString();
    on(/\/revision\//, (_, response) => void response.writeHead(429, { 'retry-after': at }).end());
    expect((await failure()).message).toMatch(/HUB_UNREACHABLE: .*status 429/);
    expect(waits).toHaveLength(3);
    for (const ms of waits) expect(ms).toBeGreaterThan(10_000);
  });

  it.each([400, 404, 410, 451])('status %d is not asked twice', async (status) => {
    on(/\/revision\//, (_, response) => void response.writeHead(status).end());
    await failure();
    expect(waits).toEqual([]);
  });
});

describe('redirects', () => {
  it.each([
    ['for ever', (request: IncomingMessage) => request.url!],
    ['to a file', () => 'file:///etc/passwd'],
    ['to data', () => 'data:application/json,{}'],
    ['to FTP', () => 'ftp://127.0.0.1/x'],
    ['to nowhere', () => 'http://['],
  ])('%s', async (_, location) => {
    on(
      /\/revision\//,
      (request, response) => void response.writeHead(302, { location: location(request) }).end(),
    );
    const error = await failure();
    expect(error.code).toBe('HUB_PROTOCOL');
    expect(error.message).not.toMatch(/passwd/);
  });

  it('neither token nor password goes to another server', async () => {
    const seen: (string | undefined)[] = [];
    const other = createServer((request, response) => {
      seen.push(request.headers.authorization);
      response.writeHead(200).end(request.url!.includes('safetensors') ? weights : '[]');
    });
    await new Promise<void>((done) => other.listen(0, '127.0.0.1', done));
    const elsewhere = `http://127.0.0.1:${(other.address() as AddressInfo).port}`;
    try {
      for (const options of [
        { token: 'hf_secret' },
        { hubUrl: hub.url.replace('//', '//user:s%40cret@') },
      ]) {
        on(
          /\/resolve\/.*safetensors/,
          (request, response) =>
            void response.writeHead(302, { location: elsewhere + request.url }).end(),
        );
        await fetchModel(options);
        expect(seen).toEqual([undefined]);
        seen.length = 0;
        await rm(cacheDir, { recursive: true });
        on(/\/tree\//, (_, response) =>
          json(response, [], { link: `<${elsewhere}/x>; rel="next"` }),
        );
        expect((await failure(options)).message).toMatch(/HUB_PROTOCOL: .*another server/);
        expect(seen).toEqual([]);
      }
    } finally {
      await new Promise((done) => other.close(done));
    }
  });
});

describe('passwords and tokens', () => {
  it('go into headers, and into no message and no name', async () => {
    let authorization: string | undefined;
    on(/./, (request) => {
      authorization = request.headers.authorization;
      return false as never;
    });
    hub.answer = (request, response) => {
      authorization = request.headers.authorization;
      if (request.url!.includes('/tree/')) response.writeHead(500).end();
      return request.url!.includes('/tree/');
    };
    const error = await failure({ hubUrl: hub.url.replace('//', '//user:s%40cret@') });
    expect(authorization).toBe(`Basic ${Buffer.from('user:s@cret').toString('base64')}`);
    expect(`${error.message} ${String(error.stack)} ${JSON.stringify(error)}`).not.toMatch(
      /s%40cret|s@cret/,
    );
    expect(everything().join()).not.toMatch(/cret/);
  });

  it.each([
    [{ token: 'hf_line\nbreak' }, 'HUB_TOKEN'],
    [{ token: 'hf_é' }, 'HUB_TOKEN'],
    [{ token: 7 as never }, 'HUB_TOKEN'],
    [{ hubUrl: 'http://user:s3cret@127.0.0.1:1', token: 'hf_s3cret' }, 'HUB_URL'],
    [{ hubUrl: 'ftp://user:s3cret@127.0.0.1' }, 'HUB_URL'],
    [{ hubUrl: 'user:s3cret@[' }, 'HUB_URL'],
    [{ hubUrl: 'http://user:s3cret%zz@127.0.0.1' }, 'HUB_URL'],
    [{ hubUrl: 'http://user:s3cret@127.0.0.1:1' }, 'HUB_UNREACHABLE'],
    [{ timeoutMs: -1 }, 'HUB_TIMEOUT'],
    [{ timeoutMs: Number.NaN }, 'HUB_TIMEOUT'],
  ] as [HubOptions, string][])('%j', async (options, code) => {
    const error = await failure(options);
    expect(error.code).toBe(code);
    expect(error.message).not.toMatch(/s3cret|break/);
  });
});

describe('a file that is not what it is said to be', () => {
  const onProgress = ({ bytesDone }: HubProgress) => void (bytesDone === 2000 && hub.cut());
  const serve = (answer: Answer) => on(/\/resolve\/.*safetensors/, answer);

  it('longer', async () => {
    serve((_, response) => void response.writeHead(200).end(Buffer.alloc(10_000)));
    expect((await failure()).message).toMatch(/HUB_CORRUPT: .*goes on after the 5000 bytes/);
    expect(everything().filter((name) => `${name}`.includes('incomplete'))).toEqual([]);
  });

  it('longer, and unpacked on the way', async () => {
    serve(
      (_, response) =>
        void response
          .writeHead(200, { 'content-encoding': 'gzip' })
          .end(gzipSync(Buffer.alloc(2 ** 26))),
    );
    expect((await failure()).message).toMatch(/HUB_CORRUPT: .*goes on after the 5000 bytes/);
  });

  it('shorter, with a length that promises more, or less', async () => {
    for (const length of [5000, 100]) {
      serve((_, response) => {
        response.writeHead(200, { 'content-length': length });
        response.write(weights.subarray(0, 100), () => response.socket?.end());
      });
      expect((await failure()).code).toBe('HUB_UNREACHABLE');
    }
  });

  it('of another content', async () => {
    serve((_, response) => void response.writeHead(200).end(Buffer.alloc(5000)));
    expect((await failure()).message).toMatch(/HUB_CORRUPT: model.safetensors arrived with hash/);
  });

  it('from another byte on than was asked for', async () => {
    hub.breakOnce.set('model.safetensors', 2000);
    let asked = 0;
    hub.answer = (request, response) => {
      if (!/safetensors/.test(request.url!) || asked++ === 0) return false;
      response.writeHead(206, { 'content-range': 'bytes 0-4999/5000' }).end(weights);
      return true;
    };
    expect((await failure({ onProgress })).code).toBe('HUB_PROTOCOL');
  });

  it('from the beginning, though the rest was asked for: that is taken', async () => {
    hub.breakOnce.set('model.safetensors', 2000);
    let asked = 0;
    hub.answer = (request, response) => {
      if (!/safetensors/.test(request.url!) || asked++ === 0) return false;
      response.writeHead(200).end(weights);
      return true;
    };
    const folder = await fetchModel({ onProgress });
    expect(new Uint8Array(readFileSync(join(folder, 'model.safetensors')))).toEqual(weights);
  });

  it('of a connection that breaks at every byte', async () => {
    serve((_, response) => {
      response.writeHead(200, { 'content-length': 5000 });
      response.write('\0', () => response.socket?.end());
    });
    expect((await failure()).code).toBe('HUB_UNREACHABLE');
    expect(waits).toHaveLength(3);
  });
});

it('a fetch that fails leaves no half of a model that is taken for all of it', async () => {
  on(/\/resolve\/.*safetensors/, (_, response) => void response.writeHead(500).end());
  expect((await failure()).code).toBe('HUB_UNREACHABLE');
  expect((await failure({ localFilesOnly: true })).code).toBe('HUB_NOT_CACHED');
  hub.answer = null;
  await fetchModel();
});

describe('several at once', () => {
  it('in one process: all succeed, and nothing is left over', async () => {
    const folders = await Promise.all(Array.from({ length: 6 }, () => fetchModel()));
    expect(new Set(folders).size).toBe(1);
    expect(new Uint8Array(readFileSync(join(folders[0]!, 'model.safetensors')))).toEqual(weights);
    expect(readdirSync(folders[0]!).sort()).toEqual(['config.json', 'model.safetensors']);
    expect(readdirSync(join(cacheDir, 'models--owner--model', 'blobs'))).toHaveLength(2);
  });

  it('what a living process writes is left alone, what a dead one left is gone on with', async () => {
    const folder = await fetchModel();
    const blobs = join(cacheDir, 'models--owner--model', 'blobs');
    const blob = readdirSync(blobs).find((name) => name.length === 64)!;
    await rm(join(blobs, blob));
    const machine = (await import('../../src/io/owner.js')).ownerTag().slice(0, 8);
    const living = `${blob}.incomplete-${machine}-${process.ppid}-00000000`;
    const dead = `${blob}.incomplete-${machine}-${2 ** 22 + 1}-00000000`;
    const away = `${blob}.incomplete-00000000-${2 ** 22 + 1}-00000000`;
    for (const [name, bytes] of [
      [living, 10],
      [dead, 4000],
      [away, 4500],
    ] as const)
      await writeFile(join(blobs, name), weights.subarray(0, bytes));
    hub.requests.length = 0;
    await fetchModel();
    expect(hub.requests.at(-1)).toMatch(/bytes=4000-/);
    expect(new Uint8Array(readFileSync(join(folder, 'model.safetensors')))).toEqual(weights);
    expect(
      readdirSync(blobs)
        .filter((name) => name.includes('incomplete'))
        .sort(),
    ).toEqual([living, away].sort());
  });
});
