import { inspect } from 'node:util';
import { type LLMRequest, type OpenAIProviderOptions, openaiProvider } from '@attune/data';
import { describe, expect, test } from 'vitest';
import { completion, type FakeEndpoint, fakeEndpoint, json, type Respond } from './fakeEndpoint.js';

const KEY = 'sk-very-secret-1234567890';
const request: LLMRequest = { messages: [{ role: 'user', content: 'Hello' }] };

const providerOf = ({ baseUrl }: FakeEndpoint, options: Partial<OpenAIProviderOptions> = {}) =>
  openaiProvider({ baseUrl, model: 'tiny', apiKey: KEY, retryDelayMs: 1, ...options });

/** What comes of one request to an endpoint that answers so. */
async function ask(
  respond: Respond,
  options: Partial<OpenAIProviderOptions> = {},
  asked: LLMRequest = request,
) {
  await using server = await fakeEndpoint(respond);
  const provider = providerOf(server, options);
  const outcome = await provider.complete(asked).then(
    (value) => ({ value, error: null }),
    (error) => ({ value: null, error }),
  );
  if (outcome.error) {
    expect(inspect(outcome.error, { depth: 10 })).not.toContain(KEY);
    expect(outcome.error.remedy).toBeTruthy();
  }
  return { ...outcome, seen: server.seen, provider };
}

describe('a request', () => {
  test('is what the endpoint is asked, and its answer what is given', async () => {
    const { value, seen, provider } = await ask(
      (_, response) => json(response, completion(['a', 'b'])),
      { price: { promptPerMillion: 2, completionPerMillion: 10 }, extraBody: { top_k: 20 } },
      {
        messages: [
          { role: 'system', content: 'Be brief.' },
          { role: 'user', content: 'Hi' },
        ],
        maxTokens: 7,
        temperature: 0.5,
        topP: 0.9,
        seed: 3,
        stop: ['\n'],
        n: 2,
        responseFormat: { name: 'answer', schema: { type: 'object' } },
      },
    );
    expect(value).toEqual({
      texts: ['a', 'b'],
      finishReasons: ['stop', 'stop'],
      usage: { promptTokens: 10, completionTokens: 5 },
      model: 'tiny-1',
      cost: (10 * 2 + 5 * 10) / 1e6,
      isCached: false,
    });
    expect(seen[0]!.url).toBe('/v1/chat/completions');
    expect(seen[0]!.headers.authorization).toBe(`Bearer ${KEY}`);
    expect(seen[0]!.body).toEqual({
      model: 'tiny',
      messages: [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: 'Hi' },
      ],
      max_tokens: 7,
      temperature: 0.5,
      top_p: 0.9,
      seed: 3,
      stop: ['\n'],
      n: 2,
      top_k: 20,
      response_format: {
        type: 'json_schema',
        json_schema: { name: 'answer', schema: { type: 'object' }, strict: true },
      },
    });
    expect(provider.spent).toMatchObject({ requests: 1, promptTokens: 10, completionTokens: 5 });
  });

  test('has no seed where the endpoint does not take one', async () => {
    const { seen } = await ask(
      (_, response) => json(response, completion('a')),
      {
        sendSeed: false,
        maxTokensField: 'max_completion_tokens',
      },
      { ...request, seed: 1, maxTokens: 3 },
    );
    expect(seen[0]!.body).toEqual({
      model: 'tiny',
      messages: request.messages,
      max_completion_tokens: 3,
    });
  });

  test('that nobody can answer is refused before it is sent', async () => {
    const { error, seen } = await ask(() => {}, {}, { messages: [], temperature: 1 });
    expect(error.code).toBe('DATA_LLM_REQUEST');
    expect(error.message).toContain('messages');
    expect(seen).toEqual([]);
  });

  test('has no cost without a price or without a count', async () => {
    const free = await ask((_, response) => json(response, completion('a')));
    expect(free.value!.cost).toBeNull();
    const price = { promptPerMillion: 1, completionPerMillion: 1 };
    for (const usage of [undefined, null, 'many', { prompt_tokens: -1 }, { prompt_tokens: 'x' }]) {
      const { value, provider } = await ask(
        (_, response) => json(response, completion('a', { usage })),
        { price },
      );
      expect([value!.usage, value!.cost]).toEqual([null, null]);
      expect(provider.spent).toMatchObject({ withoutUsage: 1, cost: null });
    }
  });
});

describe('shapes of answers', () => {
  const message = (message: unknown, finish_reason: unknown = 'stop') => ({
    choices: [{ message, finish_reason }],
  });
  test.each([
    [
      'parts',
      message({
        content: [
          { type: 'text', text: 'a' },
          { type: 'text', text: 'b' },
        ],
      }),
      'ab',
      'stop',
    ],
    [
      'parts with reasoning',
      message({
        content: [
          { type: 'reasoning', text: 'x' },
          { type: 'text', text: 'b' },
        ],
      }),
      'b',
      'stop',
    ],
    ['reasoning beside it', message({ content: 'b', reasoning_content: 'hm' }), 'b', 'stop'],
    [
      'reasoning and no room',
      message({ content: null, reasoning_content: 'hm' }, 'length'),
      '',
      'length',
    ],
    ['thinking in it', message({ content: '<think>\nhm</think>\n\nb' }), 'b', 'stop'],
    ['thinking that never ended', message({ content: '<think>hm' }, 'length'), '', 'length'],
    [
      'a tag further on',
      message({ content: 'Write <think>.</think>' }),
      'Write <think>.</think>',
      'stop',
    ],
    ['no content', message({ role: 'assistant' }), '', 'stop'],
    ['empty content', message({ content: '' }), '', 'stop'],
    ['a refusal', message({ content: null, refusal: 'No.' }), 'No.', 'stop'],
    ['a text', { choices: [{ text: 'b', finish_reason: 'length' }] }, 'b', 'length'],
    ['no reason', message({ content: 'b' }, null), 'b', 'other'],
    ['filtered', message({ content: '' }, 'content_filter'), '', 'content_filter'],
    ["TGI's reason", message({ content: 'b' }, 'eos_token'), 'b', 'stop'],
    ['an error that is none', { ...message({ content: 'b' }), error: null }, 'b', 'stop'],
  ])('%s', async (_, body, text, reason) => {
    const { value, seen } = await ask((_seen, response) => json(response, body));
    expect([value!.texts, value!.finishReasons]).toEqual([[text], [reason]]);
    expect(value!.model).toBe('tiny');
    expect(seen.length).toBe(1);
  });

  test('thinking stays where it is wanted', async () => {
    const { value } = await ask(
      (_, response) => json(response, message({ content: '<think>hm</think>b' })),
      { dropThinking: false },
    );
    expect(value!.texts).toEqual(['<think>hm</think>b']);
  });

  test('fewer answers than wanted: the endpoint is asked for the others, with the next seeds', async () => {
    const { value, seen } = await ask(
      ({ body }, response) => json(response, completion(`seed ${body.seed}`)),
      {},
      { ...request, n: 3, seed: 5 },
    );
    expect(value!.texts).toEqual(['seed 5', 'seed 6', 'seed 7']);
    expect(value!.usage).toEqual({ promptTokens: 30, completionTokens: 15 });
    expect(seen.map(({ body }) => body.n)).toEqual([3, 2, undefined]);
  });

  test('more answers than wanted: the first count', async () => {
    const { value } = await ask((_, response) => json(response, completion(['a', 'b', 'c'])));
    expect(value!.texts).toEqual(['a']);
  });
});

describe('failures that may pass', () => {
  const good = completion('fine');
  const badly: readonly [string, Respond][] = [
    ['408', (_, response) => json(response, { error: 'slow' }, 408)],
    ['409', (_, response) => json(response, {}, 409)],
    ['429', (_, response) => json(response, { error: { message: 'slow down' } }, 429)],
    ['429 until now', (_, r) => json(r, {}, 429, { 'retry-after': '0' })],
    ['500', (_, response) => response.writeHead(500).end('oh')],
    ['502 as HTML', (_, r) => r.writeHead(502).end('<html><title>Bad Gateway</title></html>')],
    ['503 with nothing', (_, response) => response.writeHead(503).end()],
    ['529', (_, response) => json(response, { type: 'overloaded' }, 529)],
    ['HTML with 200', (_, r) => r.end('<!doctype html><title>Sign in</title>')],
    ['nothing with 200', (_, response) => response.end()],
    ['half a JSON', (_, r) => r.end(JSON.stringify(completion('fine')).slice(0, 60))],
    ['text', (_, response) => response.end('ok')],
    ['null', (_, response) => response.end('null')],
    ['a list', (_, response) => response.end('[]')],
    ['no choices', (_, response) => json(response, { id: 'x' })],
    ['choices that are none', (_, response) => json(response, { choices: 'a' })],
    ['an empty list', (_, response) => json(response, { choices: [] })],
    ['a choice that is null', (_, response) => json(response, { choices: [null] })],
    ['an error with 200', (_, r) => json(r, { error: { message: 'overloaded' } })],
    ['a 429 with 200', (_, r) => json(r, { error: { code: 429, message: 'rate' } })],
    ['a socket that closes', (_, response) => response.destroy()],
    [
      'a body that is cut off',
      (_, response) => {
        response.writeHead(200, { 'content-length': '1000' });
        response.write('{"choices": [');
        setTimeout(() => response.destroy(), 5);
      },
    ],
  ];

  test.each(badly)('%s: the next try is taken', async (_, respond) => {
    const { value, seen } = await ask((one, response) =>
      one.index < 2 ? respond(one, response) : json(response, good),
    );
    expect(value!.texts).toEqual(['fine']);
    expect(seen.length).toBe(3);
  });

  test.each(badly)('%s: after the last try it is an error that says why', async (_, respond) => {
    const { error, seen, provider } = await ask(respond, { maxRetries: 1 });
    expect(['DATA_LLM_UNREACHABLE', 'DATA_LLM_ANSWER']).toContain(error.code);
    expect(error.message).toContain('(2 tries)');
    expect(error.message).toContain('127.0.0.1');
    expect(seen.length).toBe(2);
    expect(provider.spent.requests).toBe(0);
  });

  test.each<[string, Respond]>([
    ['no answer', () => {}],
    ['headers, and no body', (_, r) => void r.writeHead(200).write('{')],
  ])('%s in time: the next try is taken', async (_, respond) => {
    const { value } = await ask(
      (one, response) => (one.index < 1 ? respond(one, response) : json(response, good)),
      { timeoutMs: 250 },
    );
    expect(value!.texts).toEqual(['fine']);
    const { error } = await ask(respond, { timeoutMs: 50, maxRetries: 1 });
    expect(error.code).toBe('DATA_LLM_UNREACHABLE');
    expect(error.message).toContain('no whole answer within 50 ms (2 tries)');
  });

  test('nobody listens there', async () => {
    const server = await fakeEndpoint(() => {});
    await server[Symbol.asyncDispose]();
    const provider = providerOf(server, { maxRetries: 1 });
    await expect(provider.complete(request)).rejects.toThrow(/cannot be reached: .*ECONNREFUSED/);
  });
});

describe('Retry-After', () => {
  const waits = async (headers: Record<string, string>, status = 429) => {
    const { seen, value } = await ask(({ index }, response) =>
      index === 0 ? json(response, {}, status, headers) : json(response, completion('a')),
    );
    expect(value!.texts).toEqual(['a']);
    return seen[1]!.atMs - seen[0]!.atMs;
  };

  test('in seconds, in milliseconds, as a date, and of any status', async () => {
    const [seconds, milliseconds, past] = await Promise.all([
      waits({ 'retry-after': '0.15' }),
      waits({ 'retry-after-ms': '150' }, 503),
      waits({ 'retry-after': new Date(Date.now() - 5000).toUTCString() }),
    ]);
    expect(seconds).toBeGreaterThanOrEqual(145);
    expect(milliseconds).toBeGreaterThanOrEqual(145);
    expect(past).toBeLessThan(140);
    // Dates have whole seconds.
    const date = new Date(Date.now() + 1500);
    expect(await waits({ 'retry-after': date.toUTCString() })).toBeGreaterThanOrEqual(400);
  });

  test('nonsense is not waited for', async () => {
    for (const text of ['soon', '-5', 'NaN', ''])
      expect(await waits({ 'retry-after': text })).toBeLessThan(140);
  });

  test('an hour is not waited for', async () => {
    const { error, seen } = await ask((_, r) => json(r, {}, 429, { 'retry-after': '3600' }));
    expect(error.message).toContain('come again in 3600 seconds');
    expect(seen.length).toBe(1);
  });

  test('holds for all requests', async () => {
    await using server = await fakeEndpoint(({ index }, response) =>
      index === 0
        ? json(response, {}, 429, { 'retry-after-ms': '200' })
        : json(response, completion('a')),
    );
    const provider = providerOf(server, { maxConcurrent: 1 });
    await Promise.all([provider.complete(request), provider.complete(request)]);
    expect(server.seen[1]!.atMs - server.seen[0]!.atMs).toBeGreaterThanOrEqual(195);
  });
});

describe('failures that do not pass', () => {
  const said = (message: string, more: object = {}) => ({ error: { message, ...more } });
  test.each([
    [400, said('context length exceeded', { code: 'x' }), 'context length exceeded', 'length'],
    [400, said('This is too long: 9000 tokens'), 'too long', 'length'],
    [400, said('x', { code: 'context_length_exceeded' }), '"x"', 'length'],
    [413, 'too large', 'too large', 'length'],
    [400, said('The response was filtered', { code: 'content_filter' }), 'filtered', 'content'],
    [400, said("triggering Azure OpenAI's content management policy"), 'policy', 'content'],
    [403, said('Your input was flagged', { code: 403 }), 'flagged', 'content'],
    [400, said('Content Exists Risk'), 'Risk', 'content'],
    [400, said('x', { code: 'data_inspection_failed' }), '"x"', 'content'],
    [400, { message: "This model's maximum context length is 9 tokens." }, 'length', 'length'],
    [422, { error: '`inputs` tokens + `max_new_tokens` must be <= 4096' }, '4096', 'length'],
    [429, said('Request too large for m on tokens per min (TPM)'), 'too large', 'length'],
    [400, said('Invalid value'), 'Invalid value', 'request'],
    [422, { detail: [{ msg: 'n is too large', input: 'my api key' }] }, 'too large', 'request'],
    [400, said('API key not valid. Please pass a valid API key.'), 'not valid', 'setup'],
    [400, said('x', { code: 'unsupported_parameter' }), '"x"', 'setup'],
    [400, said('The model `m` does not exist'), 'does not exist', 'setup'],
    [401, said(`Incorrect API key provided: ${KEY}.`), 'API key provided: ***', 'setup'],
    [402, said('pay'), 'pay', 'setup'],
    [403, { error: 'no access' }, 'no access', 'setup'],
    [404, { detail: 'Not Found' }, 'Not Found', 'setup'],
    [429, said('no money', { code: 'insufficient_quota' }), 'no money', 'setup'],
    [200, said('x', { code: 'content_filter' }), '"x"', 'content'],
    [200, said('x', { code: 'invalid_api_key' }), '"x"', 'setup'],
  ])(
    '%i %j is not tried again, and its words are in the error',
    async (status, body, words, kind) => {
      const { error, seen } = await ask((_, response) => json(response, body, status));
      expect(error.code).toBe(kind === 'setup' ? 'DATA_LLM_SETUP' : 'DATA_LLM_REFUSED');
      expect(error.message).toContain(words);
      expect(error.message).toContain(String(status));
      expect(error.details).toMatchObject({ status, kind });
      expect(seen.length).toBe(1);
    },
  );

  test('there is no such host: it is not tried again', async () => {
    const provider = openaiProvider({ baseUrl: 'http://no-such-host.invalid/v1', model: 'm' });
    const begin = performance.now();
    await expect(provider.complete(request)).rejects.toThrow(/no-such-host.invalid.*cannot be/);
    expect(performance.now() - begin).toBeLessThan(400);
    await expect(provider.complete(request)).rejects.toMatchObject({ code: 'DATA_LLM_SETUP' });
  });

  test('https to a server of http is not tried again', async () => {
    await using server = await fakeEndpoint(() => {});
    const baseUrl = server.baseUrl.replace('http:', 'https:');
    const provider = openaiProvider({ baseUrl, model: 'm' });
    await expect(provider.complete(request)).rejects.toMatchObject({ code: 'DATA_LLM_SETUP' });
  });

  test('an error within a 200 that will not pass', async () => {
    const { error, seen } = await ask((_, response) =>
      json(response, { error: { code: 401, message: 'who are you' } }),
    );
    expect(error.code).toBe('DATA_LLM_SETUP');
    expect(seen.length).toBe(1);
  });

  test('a redirect is not followed', async () => {
    const { error, seen } = await ask((_, response) =>
      response.writeHead(307, { location: 'https://elsewhere.example/v1?key=1' }).end(),
    );
    expect(error.message).toContain('https://elsewhere.example/v1 (307)');
    expect(seen.length).toBe(1);
  });
});

describe('a signal', () => {
  test('ends a request that is under way', async () => {
    await using server = await fakeEndpoint(() => {});
    const controller = new AbortController();
    const asking = providerOf(server).complete(request, { signal: controller.signal });
    setTimeout(() => controller.abort(new Error('enough')), 20);
    await expect(asking).rejects.toThrow('enough');
  });

  test('ends the waiting for the next try, and for the turn', async () => {
    await using server = await fakeEndpoint((_, r) => json(r, {}, 429, { 'retry-after': '30' }));
    const provider = providerOf(server, { maxConcurrent: 1 });
    const controller = new AbortController();
    const { signal } = controller;
    const both = [provider.complete(request, { signal }), provider.complete(request, { signal })];
    setTimeout(() => controller.abort(new Error('enough')), 40);
    for (const outcome of await Promise.allSettled(both))
      expect(outcome).toMatchObject({ status: 'rejected', reason: { message: 'enough' } });
    await expect(provider.complete(request, { signal })).rejects.toThrow('enough');
  });
});

describe('limits', () => {
  test('so many at once', async () => {
    await using server = await fakeEndpoint((_, response) =>
      setTimeout(() => json(response, completion('a')), 5),
    );
    const provider = providerOf(server, { maxConcurrent: 3 });
    await Promise.all(Array.from({ length: 12 }, () => provider.complete(request)));
    expect(server.mostAtOnce).toBe(3);
  });
});

describe('secrets', () => {
  test('are in nothing that can be printed', () => {
    const provider = openaiProvider({
      baseUrl: 'https://api.example.com/v1?token=tok-123456',
      model: 'm',
      apiKey: KEY,
      headers: { 'x-key': 'header-secret' },
    });
    const printed = `${inspect(provider, { depth: 10, showHidden: true })} ${JSON.stringify(provider)}`;
    for (const secret of [KEY, 'tok-123456', 'header-secret'])
      expect(printed).not.toContain(secret);
    expect(provider.fingerprint()).toMatchObject({
      address: 'https://api.example.com/v1/chat/completions',
    });
  });

  test('that are wrong are not shown', () => {
    const base = { baseUrl: 'http://x/v1', model: 'm' };
    for (const options of [
      { ...base, apiKey: `${KEY}\n` },
      { ...base, apiKey: [KEY] as unknown as string },
      { ...base, headers: { 'x-key': `${KEY}\n\nx` } },
      { ...base, headers: { 'x-key': [KEY] as unknown as string } },
      { ...base, headers: KEY as unknown as Record<string, string> },
      { ...base, baseUrl: `https://user:${KEY}@x/v1` },
      { ...base, apiKeyEnv: 'NO_SUCH_VARIABLE_HERE' },
    ])
      try {
        openaiProvider(options);
        expect.unreachable();
      } catch (error) {
        expect(inspect(error, { depth: 10 })).toMatch(/INVALID_OPTION/);
        expect(inspect(error, { depth: 10 })).not.toContain(KEY);
      }
  });
});

test.each([
  ['no address', { baseUrl: 'localhost', model: 'm' }, 'no address of http'],
  ['another protocol', { baseUrl: 'ftp://x', model: 'm' }, '"ftp:"'],
  ['a word of another library', { baseUrl: 'http://x', model: 'm', rpm: 3 }, 'requestsPerMinute'],
  ['a limit of none', { baseUrl: 'http://x', model: 'm', maxConcurrent: 0 }, 'maxConcurrent'],
])('options: %s', (_, options, words) => {
  expect(() => openaiProvider(options as OpenAIProviderOptions)).toThrow(words);
});
