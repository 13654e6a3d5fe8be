import { spawn } from 'node:child_process';
import { appendFile, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cachedProvider, type LLMRequest, openaiProvider } from '@attune/data';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { DiskCache } from '../../src/providers/diskCache.js';
import { asked, completion, type FakeEndpoint, fakeEndpoint, json } from './fakeEndpoint.js';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'attune-cache-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const say = (content: string, more: Partial<LLMRequest> = {}): LLMRequest => ({
  messages: [{ role: 'user', content }],
  ...more,
});

const price = { promptPerMillion: 1, completionPerMillion: 1 };
const fresh = ({ baseUrl }: FakeEndpoint, model = 'm') =>
  cachedProvider(
    openaiProvider({ baseUrl, model, price, retryDelayMs: 1, apiKey: 'sk-hidden' }),
    folder,
  );

const echo = () =>
  fakeEndpoint((seen, response) => json(response, completion(`${asked(seen)} #${seen.index}`)));

describe('cachedProvider', () => {
  test('a hit makes no request, costs nothing, and is the same answer', async () => {
    await using server = await echo();
    const first = await fresh(server).complete(say('a', { temperature: 1, seed: 1 }));
    const second = await fresh(server).complete(say('a', { temperature: 1, seed: 1 }));
    expect(first).toMatchObject({ texts: ['a #0'], cost: 15e-6, isCached: false });
    expect(second).toEqual({ ...first, cost: 0, isCached: true });
    expect(server.seen.length).toBe(1);
    expect(await readFile(join(folder, 'values.tsv'), 'utf8')).not.toContain('sk-hidden');
  });

  test('each field of a request, and the model, makes another one', async () => {
    await using server = await echo();
    const requests: LLMRequest[] = [
      say('a'),
      say('b'),
      say('a', { seed: 0 }),
      say('a', { seed: 1 }),
      say('a', { temperature: 0 }),
      say('a', { maxTokens: 3 }),
      say('a', { stop: ['x'] }),
      say('a', { responseFormat: 'json' }),
      { messages: [{ role: 'system', content: 'a' }] },
    ];
    for (const request of requests) await fresh(server).complete(request);
    await fresh(server, 'other').complete(say('a'));
    expect(server.seen.length).toBe(requests.length + 1);
    // The order of keys, and what is undefined, do not.
    await fresh(server).complete({
      seed: 1,
      ...say('a'),
      stop: undefined,
    } as unknown as LLMRequest);
    expect(server.seen.length).toBe(requests.length + 1);
  });

  test('equal requests at once are one; a failure is not kept', async () => {
    await using server = await fakeEndpoint(({ index }, response) =>
      setTimeout(
        () => (index === 0 ? json(response, {}, 400) : json(response, completion('a'))),
        10,
      ),
    );
    const provider = fresh(server);
    const failed = await Promise.allSettled([1, 2, 3].map(() => provider.complete(say('a'))));
    expect(failed.map(({ status }) => status)).toEqual(Array(3).fill('rejected'));
    expect(server.seen.length).toBe(1);
    const good = await Promise.all([1, 2, 3].map(() => provider.complete(say('a'))));
    expect(good.map(({ isCached }) => isCached)).toEqual([false, true, true]);
    expect(server.seen.length).toBe(2);
  });

  test('who gives up takes nobody along', async () => {
    await using server = await fakeEndpoint((_, response) =>
      setTimeout(() => json(response, completion('a')), 30),
    );
    const provider = fresh(server);
    const controller = new AbortController();
    const first = provider.complete(say('a'), { signal: controller.signal });
    const second = provider.complete(say('a'));
    setTimeout(() => controller.abort(new Error('enough')), 5);
    await expect(first).rejects.toThrow('enough');
    expect((await second).texts).toEqual(['a']);
  });

  test('many requests at once, from several providers of one folder', async () => {
    await using server = await echo();
    const providers = [fresh(server), fresh(server), fresh(server)];
    const long = 'x'.repeat(20_000);
    await Promise.all(
      Array.from({ length: 120 }, (_, i) => providers[i % 3]!.complete(say(`${i} ${long}`))),
    );
    expect(server.seen.length).toBe(120);
    const again = await Promise.all(
      Array.from({ length: 120 }, (_, i) => providers[(i + 1) % 3]!.complete(say(`${i} ${long}`))),
    );
    expect(again.every(({ isCached }) => isCached)).toBe(true);
    expect(again[77]!.texts[0]).toMatch(/^77 x/);
  });

  test('a run that is killed repeats no request that was answered', async () => {
    await using server = await fakeEndpoint((seen, response) =>
      setTimeout(() => json(response, completion(asked(seen))), 3),
    );
    // It asks one after the other and dies with a request on its way.
    const script = `
      import { cachedProvider } from './src/providers/cachedProvider.ts';
      import { openaiProvider } from './src/providers/openai/openaiProvider.ts';
      const provider = cachedProvider(openaiProvider({ baseUrl: process.argv[1], model: 'm' }), process.argv[2]);
      for (let i = 0; i < 20; i++) {
        if (i === 7) setTimeout(() => process.kill(process.pid, 'SIGKILL'), 1);
        await provider.complete({ messages: [{ role: 'user', content: 'n' + i }] });
        console.log(i);
      }`;
    const child = spawn(
      process.execPath,
      [
        '--conditions=attune-source',
        '--import',
        'tsx',
        '--input-type=module',
        '-e',
        script,
        server.baseUrl,
        folder,
      ],
      { cwd: new URL('../..', import.meta.url) },
    );
    let out = '';
    let errors = '';
    child.stdout.on('data', (data) => {
      out += data;
    });
    child.stderr.on('data', (data) => {
      errors += data;
    });
    const code = await new Promise((resolve) => child.on('close', (_, signal) => resolve(signal)));
    expect([code, errors]).toEqual(['SIGKILL', '']);
    const done = out.trim().split('\n').length;
    expect(done).toBe(7);
    const before = server.seen.length;
    const provider = cachedProvider(
      openaiProvider({ baseUrl: server.baseUrl, model: 'm' }),
      folder,
    );
    for (let i = 0; i < 20; i++)
      expect((await provider.complete(say(`n${i}`))).texts).toEqual([`n${i}`]);
    expect(server.seen.length - before).toBe(20 - done);
  });
});

describe('DiskCache', () => {
  const path = () => join(folder, 'values.tsv');

  test('a record that was cut off is missing; those before and behind are there', async () => {
    const cache = new DiskCache(folder);
    await cache.set('a', { text: 'ä\n' });
    await cache.set('b', { text: 'b'.repeat(50) });
    const { length } = await readFile(path());
    for (const cut of [1, 2, 30, 55]) {
      const torn = join(folder, `torn-${cut}`);
      const other = new DiskCache(torn);
      await other.set('x', 0);
      await writeFile(other.path, (await readFile(path())).subarray(0, length - cut));
      expect(await other.get('a')).toEqual({ text: 'ä\n' });
      expect(await other.get('b')).toBeUndefined();
      await other.set('c', [1]);
      expect(await other.get('c')).toEqual([1]);
      await other.set('b', 2);
      expect(await new DiskCache(torn).get('b')).toBe(2);
    }
  });

  test('noise within the file spoils nothing else', async () => {
    const cache = new DiskCache(folder);
    await cache.set('a', 1);
    await appendFile(path(), Buffer.from([0, 255, 10, 9, 9, 10, 0x61, 9, 0x7b, 10]));
    await cache.set('b', 2);
    const again = new DiskCache(folder);
    expect(await again.get('b')).toBe(2);
    // "a <tab> {" was the last word on a: it is missing, and can be written again.
    expect(await again.get('a')).toBeUndefined();
    await again.set('a', 3);
    expect(await again.get('a')).toBe(3);
  });

  test('a file that somebody else replaced gives no value of another key', async () => {
    const cache = new DiskCache(folder);
    await cache.set('a', 'value of a');
    await cache.set('b', 'value of b');
    expect(await cache.get('a')).toBe('value of a');
    // The same places, other records; and longer than it was.
    const other = new DiskCache(join(folder, 'other'));
    for (const key of ['c', 'd', 'a']) await other.set(key, `value of ${key}`);
    await writeFile(path(), await readFile(other.path));
    expect(await cache.get('a')).toBe('value of a');
    expect(await cache.get('b')).toBeUndefined();
    expect(await cache.get('c')).toBe('value of c');
  });

  test('two processes with one folder lose nothing, and each finds what the other wrote', async () => {
    const script = `
      import { DiskCache } from './src/providers/diskCache.ts';
      const [folder, name] = process.argv.slice(1);
      const cache = new DiskCache(folder);
      const jobs = [];
      for (let i = 0; i < 150; i++) {
        const value = { from: name, text: name.repeat(1 + (i * 997) % 20000) };
        jobs.push(cache.set(name + i, value), cache.set('both' + i, i));
        if (i % 10 === 9) await Promise.all(jobs.splice(0));
      }`;
    const run = (name: string) =>
      new Promise<string>((resolve) => {
        const child = spawn(
          process.execPath,
          [
            ...['--conditions=attune-source', '--import', 'tsx', '--input-type=module'],
            ...['-e', script, folder, name],
          ],
          { cwd: new URL('../..', import.meta.url) },
        );
        let errors = '';
        child.stderr.on('data', (data) => {
          errors += data;
        });
        child.on('close', (code) => resolve(`${code}${errors}`));
      });
    const reader = new DiskCache(folder);
    const done = Promise.all([run('x'), run('y')]);
    await reader.get('x0');
    expect(await done).toEqual(['0', '0']);
    for (let i = 0; i < 150; i++) {
      expect(await reader.get(`both${i}`)).toBe(i);
      for (const name of ['x', 'y'])
        expect(await reader.get(name + i)).toEqual({
          from: name,
          text: name.repeat(1 + ((i * 997) % 20000)),
        });
    }
  });

  test('values larger than a block, and a file that somebody emptied', async () => {
    const cache = new DiskCache(folder);
    const large = 'é'.repeat(2 ** 20);
    await cache.set('large', large);
    await cache.set('small', 1);
    expect(await cache.get('small')).toBe(1);
    expect(await cache.get('large')).toBe(large);
    await truncate(path(), 0);
    await cache.set('new', 2);
    expect(await cache.get('other')).toBeUndefined();
    expect(await cache.get('large')).toBeUndefined();
    expect(await cache.get('new')).toBe(2);
  });
});
