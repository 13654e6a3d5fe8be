import type { AddressInfo } from 'node:net';
import { createServer, type Socket } from 'node:net';
import { inspect } from 'node:util';
import { gzipSync } from 'node:zlib';
import { type LLMRequest, type OpenAIProviderOptions, openaiProvider } from '@attune/data';
import { describe, expect, test } from 'vitest';
import { RequestGate } from '../../src/providers/http/requestGate.js';
import { completion, fakeEndpoint, json, type Respond } from './fakeEndpoint.js';

const KEY = 'sk-very/secret+1234567890';
const request: LLMRequest = { messages: [{ role: 'user', content: 'Hello' }] };
const good = completion('fine');

async function ask(
  respond: Respond,
  options: Partial<OpenAIProviderOptions> = {},
  asked: LLMRequest = request,
) {
  await using server = await fakeEndpoint(respond);
  const provider = openaiProvider({
    baseUrl: server.baseUrl,
    model: 'tiny',
    apiKey: KEY,
    retryDelayMs: 1,
    maxRetries: 1,
    ...options,
  });
  const outcome = await provider.complete(asked).then(
    (value) => ({ value, error: null }),
    (error) => ({ value: null, error }),
  );
  return { ...outcome, seen: server.seen };
}

describe('a key is in no message', () => {
  const pad = (n: number) => 'x'.repeat(n);
  const echoes: readonly [string, (n: number) => string][] = [
    ['text', (n) => pad(n) + KEY],
    ['a message', (n) => JSON.stringify({ error: { message: pad(n) + KEY } })],
    ['an object', (n) => JSON.stringify({ a: pad(n), b: KEY })],
    ['escapes', (n) => `{"error": "${pad(n)}${KEY.replace('/', '\\/').replace('s', '\\u0073')}"}`],
    ['a page', (n) => `<html><title>${pad(n)}${KEY}</title></html>`],
    ['an address', (n) => `${pad(n)} ?key=${encodeURIComponent(KEY)}`],
    ['a choice', (n) => JSON.stringify({ choices: [{ a: pad(n), b: KEY }] })],
  ];
  // Wherever it is cut off, no piece of the key is left.
  const pieces = [KEY, encodeURIComponent(KEY), 'sk-very', 'secret', '1234'];

  test.each(echoes)('that comes back in %s', async (_, echo) => {
    for (const status of [200, 400, 401, 500])
      for (const n of [0, 85, 95, 100, 105, 110, 115, 178, 185, 480, 490]) {
        const { error } = await ask((_seen, response) => response.writeHead(status).end(echo(n)), {
          maxRetries: 0,
        });
        const printed = inspect(error, { depth: 10 });
        for (const piece of pieces) expect(printed).not.toContain(piece);
      }
  });
});

describe('bodies', () => {
  test('deep nesting is an error like others', async () => {
    for (const open of ['[', '{"error":', '{"choices":[', '{"choices":[{"message":{"content":[']) {
      const { error } = await ask((_, response) => response.end(open.repeat(100_000)));
      expect(error.code).toBe('DATA_LLM_ANSWER');
      const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
      for (const body of [deep, `{"error": ${deep}}`, `{"choices": ${deep}}`, `{"x": ${deep}}`]) {
        const { error: other } = await ask((_, response) => response.end(body));
        expect(other.code).toBe('DATA_LLM_ANSWER');
      }
    }
  });

  test('gzip is read; what is none, and a bomb, are errors', async () => {
    const zipped = gzipSync(JSON.stringify(good));
    const headers = { 'content-encoding': 'gzip' };
    const { value } = await ask((_, response) => response.writeHead(200, headers).end(zipped));
    expect(value!.texts).toEqual(['fine']);
    for (const body of [zipped.subarray(0, 30), Buffer.from('{"choices": []}')]) {
      const { error } = await ask((_, response) => response.writeHead(200, headers).end(body));
      expect(error.code).toMatch(/^DATA_LLM_(UNREACHABLE|ANSWER)$/);
    }
    const bomb = gzipSync(Buffer.alloc(200 * 2 ** 20, 32));
    const { error } = await ask((_, response) => response.writeHead(200, headers).end(bomb), {
      maxRetries: 0,
    });
    expect(error.message).toMatch(/longer than \d+ bytes/);
  });

  test('one that never ends is given up, by size or by time', async () => {
    const chunk = Buffer.alloc(2 ** 20, 32);
    let sent = 0;
    const pour: Respond = (_, response) => {
      const more = () => {
        while (!response.destroyed && response.write(chunk)) sent++;
        if (!response.destroyed) response.once('drain', more);
      };
      more();
    };
    const { error } = await ask(pour, { maxRetries: 0 });
    expect(error.message).toMatch(/longer than \d+ bytes/);
    expect(sent).toBeLessThan(200);
    const drip: Respond = (_, response) => {
      const timer = setInterval(() => response.write(' '), 10);
      response.on('close', () => clearInterval(timer));
    };
    const begin = performance.now();
    const { error: late } = await ask(drip, { maxRetries: 0, timeoutMs: 150 });
    expect(late.message).toContain('no whole answer within 150 ms');
    expect(performance.now() - begin).toBeLessThan(2000);
  });

  test.each<[string, Respond]>([
    ['no content-type', (_, r) => r.end(JSON.stringify(good))],
    ['text/html', (_, r) => json(r, good, 200, { 'content-type': 'text/html' })],
    ['a byte order mark', (_, r) => r.end(`\ufeff${JSON.stringify(good)}`)],
    ['201', (_, r) => json(r, good, 201)],
    ['blanks around it', (_, r) => r.end(`\n\n ${JSON.stringify(good)}\n`)],
  ])('is read: %s', async (_, respond) => {
    expect((await ask(respond)).value!.texts).toEqual(['fine']);
  });

  test.each<[string, Respond]>([
    ['a stream that nobody asked for', (_, r) => r.end('data: {"choices": []}\n\ndata: [DONE]')],
    ['204', (_, r) => r.writeHead(204).end()],
    ['NUL', (_, r) => r.end('\0\0\0')],
    ['invalid UTF-8', (_, r) => r.end(Buffer.from([0xff, 0xfe, 0x7b]))],
    ['two objects', (_, r) => r.end(JSON.stringify(good).repeat(2))],
    ['a choice that failed', (_, r) => json(r, failed('error'))],
    ['a choice that was stopped', (_, r) => json(r, failed('abort'))],
  ])('is tried again: %s', async (_, respond) => {
    const { value, seen } = await ask((one, response) =>
      one.index === 0 ? respond(one, response) : json(response, good),
    );
    expect([value?.texts, seen.length]).toEqual([['fine'], 2]);
  });

  const failed = (finish_reason: string) => ({
    choices: [{ message: { content: 'Half an ans' }, finish_reason }],
  });

  test('choices in another order are put in theirs', async () => {
    const choice = (index: unknown, content: string) => ({
      index,
      message: { content },
      finish_reason: 'stop',
    });
    const three = { ...request, n: 3 };
    const of = async (...indexes: unknown[]) => {
      const choices = indexes.map((index, i) => choice(index, 'abc'[i]!));
      return (await ask((_, response) => json(response, { choices }), {}, three)).value!.texts;
    };
    expect(await of(2, 0, 1)).toEqual(['b', 'c', 'a']);
    // Numbers that are none, or not all different, say nothing.
    expect(await of(0, 0, 0)).toEqual(['a', 'b', 'c']);
    expect(await of('2', null, 1)).toEqual(['a', 'b', 'c']);
  });

  test.each([
    ['STOP', 'stop'],
    ['MAX_TOKENS', 'length'],
    ['SAFETY', 'content_filter'],
    ['RECITATION', 'content_filter'],
    ['tool_calls', 'other'],
    [7, 'other'],
  ])('the reason %s', async (finish_reason, reason) => {
    const { value } = await ask((_, response) => json(response, failed(finish_reason as string)));
    expect(value!.finishReasons).toEqual([reason]);
  });
});

describe('connections', () => {
  /** A server of sockets, for what no server of HTTP does. */
  async function sockets(each: (socket: Socket, index: number) => void) {
    let count = 0;
    const open = new Set<Socket>();
    const server = createServer((socket) => {
      open.add(socket);
      socket.on('error', () => {});
      each(socket, count++);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    return {
      baseUrl: `http://127.0.0.1:${port}/v1`,
      count: () => count,
      async [Symbol.asyncDispose]() {
        for (const socket of open) socket.destroy();
        await new Promise((resolve) => server.close(resolve));
      },
    };
  }
  const whole = () => {
    const body = JSON.stringify(good);
    return `HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
  };

  test('one that is kept alive and reset at the next request is opened again', async () => {
    await using server = await sockets((socket) => {
      let requests = 0;
      socket.on('data', (data) => {
        if (!data.toString().startsWith('POST')) return;
        if (requests++ === 0) socket.write(whole());
        else socket.resetAndDestroy();
      });
    });
    const provider = openaiProvider({ baseUrl: server.baseUrl, model: 'm', retryDelayMs: 1 });
    for (let i = 0; i < 3; i++) expect((await provider.complete(request)).texts).toEqual(['fine']);
    expect(server.count()).toBeGreaterThan(1);
  });

  test.each<[string, string]>([
    ['noise', '\0\x01\x02\r\n\r\n'],
    ['another protocol', 'SSH-2.0-OpenSSH_9.0\r\n'],
    ['half a header', 'HTTP/1.1 200 OK\r\ncontent-le'],
    ['a header without end', `HTTP/1.1 200 OK\r\nx: ${'y'.repeat(200_000)}`],
    ['a length that lies', 'HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n{}'],
    ['a chunk that lies', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}'],
  ])('%s is an error, not a crash', async (_, bytes) => {
    await using server = await sockets((socket) => {
      socket.once('data', () => socket.end(bytes));
    });
    const provider = openaiProvider({
      baseUrl: server.baseUrl,
      model: 'm',
      retryDelayMs: 1,
      maxRetries: 1,
      timeoutMs: 3000,
    });
    await expect(provider.complete(request)).rejects.toMatchObject({
      code: 'DATA_LLM_UNREACHABLE',
      remedy: expect.any(String),
    });
  });

  test('one that nobody answers ends in time', async () => {
    await using server = await sockets(() => {});
    const begin = performance.now();
    const provider = openaiProvider({
      baseUrl: server.baseUrl,
      model: 'm',
      maxRetries: 0,
      timeoutMs: 100,
    });
    await expect(provider.complete(request)).rejects.toThrow(/within 100 ms/);
    expect(performance.now() - begin).toBeLessThan(1500);
  });
});

describe('Retry-After', () => {
  test.each(['1e9', '99999999999999999999', 'Fri, 31 Dec 9999 23:59:59 GMT'])(
    '%s is not waited for',
    async (text) => {
      const { error, seen } = await ask(
        (_, response) => json(response, {}, 429, { 'retry-after': text }),
        { maxRetries: 3 },
      );
      expect(error.message).toMatch(/come again in \d+ seconds/);
      expect(seen.length).toBe(1);
    },
  );

  test.each(['0', 'Mon, 01 Jan 2001 00:00:00 GMT', '0x10', 'soon 5', '-1', 'Infinity'])(
    '%s leaves the waits to us',
    async (text) => {
      const { seen, value } = await ask(
        ({ index }, response) =>
          index < 3
            ? json(response, {}, 429, { 'retry-after': text })
            : json(response, completion('a')),
        { maxRetries: 3, retryDelayMs: 40 },
      );
      expect(value!.texts).toEqual(['a']);
      const waited = seen[3]!.atMs - seen[0]!.atMs;
      // 40, 80 and 160 ms, each less a half at most.
      expect(waited).toBeGreaterThan(130);
      expect(waited).toBeLessThan(1500);
    },
  );
});

test('limits that are no whole number are kept', async () => {
  const gate = new RequestGate({ maxConcurrent: 9, requestsPerMinute: 1.5, tokensPerMinute: null });
  (await gate.enter(0)).leave();
  let hasPassed = false;
  const controller = new AbortController();
  const second = gate.enter(0, controller.signal).then(
    () => {
      hasPassed = true;
    },
    () => {},
  );
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(hasPassed).toBe(false);
  controller.abort();
  await second;
});
