import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  backTranslate,
  evolInstruct,
  judge,
  makePreferencePairs,
  openaiProvider,
  pipeline,
  type StageCache,
  selfInstruct,
} from '@attune/data';
import { describe, expect, test } from 'vitest';
import { MemoryCache } from '../../src/pipeline/memoryCache.js';
import {
  asked,
  completion,
  type FakeEndpoint,
  fakeEndpoint,
  json,
  type Respond,
} from '../providers/fakeEndpoint.js';
import { scripted } from '../providers/scripted.js';

const filtered = { error: { message: 'content management policy', code: 'content_filter' } };
const tooLong = { error: { message: 'maximum context length', code: 'context_length_exceeded' } };

/** Answers all but texts that hold a word: each of these is refused in a way of its own. */
const touchy: Respond = (seen, response) => {
  const words = seen.body.messages.map(({ content }) => content).join('\n');
  if (words.includes('BOMB')) return json(response, filtered, 400);
  if (words.includes('NOVEL')) return json(response, tooLong, 400);
  if (words.includes('MUDDLE')) return response.end('<html>');
  if (words.includes('EMPTY')) return json(response, { choices: [] });
  if (words.includes('HANG')) return response.writeHead(500).end('oh');
  if (words.includes('HALF'))
    return json(response, {
      choices: [{ message: { content: 'An answer that is' }, finish_reason: 'content_filter' }],
    });
  return json(response, completion(`Answer ${seen.index} to: ${asked(seen).slice(-40)}`));
};

const providerOf = ({ baseUrl }: FakeEndpoint, more: object = {}) =>
  openaiProvider({ baseUrl, model: 'm', retryDelayMs: 1, maxRetries: 1, ...more });

const rowsOf = (...words: string[]) =>
  words.map((word, id) => ({ prompt: `Tell me about ${word}.`, completion: 'x', id }));
const NOTHING = { prompt: (_: string, text: string) => text, judgeEqual: false, answer: false };

describe('a request that is refused for its own texts', () => {
  const rows = rowsOf('rivers', 'BOMB', 'NOVEL', 'MUDDLE', 'EMPTY', 'HALF', 'HANG', 'lakes');

  test('loses its evolution, with the reason, and nothing else', async () => {
    await using server = await fakeEndpoint(touchy);
    const provider = providerOf(server, { maxConcurrent: 2 });
    const { rows: all, report, dropped } = await evolInstruct(rows, { provider, ...NOTHING });
    expect(all.filter((row) => !('augmentation' in row))).toEqual(rows);
    expect(all.filter((row) => 'augmentation' in row).map(({ id }) => id)).toEqual([0, 7]);
    expect(report.dropped).toEqual({
      'filtered by the provider': 1,
      'too long for the provider': 1,
      'no readable answer of the provider': 2,
      'no answer of the provider': 1,
      'evolution is filtered': 1,
    });
    expect(report).toMatchObject({ added: { evolved: 8 }, rowsIn: 8, rowsOut: 10 });
    expect(dropped.find(({ reason }) => reason.startsWith('filtered'))!.detail).toContain(
      'content management policy',
    );
    expect(report.facts.spent).toMatchObject({ requests: 3, refused: 5 });
  });

  test('is put aside where that is wanted', async () => {
    await using server = await fakeEndpoint(touchy);
    const provider = providerOf(server);
    const { quarantined, report } = await makePreferencePairs(rowsOf('rivers', 'BOMB'), {
      provider,
      scorer: ({ completions }) => completions.map((_, i) => i),
      samples: 2,
      onRefusal: 'quarantine',
    });
    expect(quarantined).toMatchObject([
      { reason: 'filtered by the provider', row: { row: { id: 1 } } },
    ]);
    expect(report).toMatchObject({ rowsIn: 2, rowsOut: 1, dropped: {} });
  });

  test('ends the run where that is wanted', async () => {
    await using server = await fakeEndpoint(touchy);
    await expect(
      evolInstruct(rows, { provider: providerOf(server), ...NOTHING, onRefusal: 'end' }),
    ).rejects.toMatchObject({ code: 'DATA_LLM_REFUSED' });
  });

  test('in each stage: rows in are rows out', async () => {
    await using server = await fakeEndpoint(touchy);
    const provider = providerOf(server);
    const translated = await backTranslate(rows, { provider, lengthRatio: [0, 99] });
    expect(translated.report.dropped).toMatchObject({
      'filtered by the provider': 1,
      'too long for the provider': 1,
      filtered: 1,
    });
    const scorer = ({ completions }: { completions: readonly string[] }) =>
      completions.map((text) => text.length);
    const pairs = await makePreferencePairs(rows, { provider, scorer, samples: 3 });
    expect(pairs.report.dropped).toMatchObject({
      'filtered by the provider': 1,
      'no readable answer of the provider': 2,
      'no whole answer': 1,
    });
    const { rowsIn, rowsOut, dropped } = pairs.report;
    expect(rowsIn).toBe(rowsOut + Object.values(dropped).reduce((a, b) => a + b, 0));
  });

  test('answers of new instructions, and requests for them', async () => {
    let lists = 0;
    await using server = await fakeEndpoint((seen, response) => {
      if (!asked(seen).includes('further tasks')) return touchy(seen, response);
      if (lists++ === 1) return json(response, filtered, 400);
      const marks = [...'abcd'].map((letter) => letter.repeat(lists)).join(' ');
      return json(
        response,
        completion(`1. Explain ${marks} BOMB\n2. Sort ${marks.toUpperCase()}x upward`),
      );
    });
    const { report } = await selfInstruct(rowsOf('rivers', 'lakes'), {
      provider: providerOf(server, { maxConcurrent: 1 }),
      count: 6,
      perRequest: 2,
    });
    expect(report.dropped).toMatchObject({ 'filtered by the provider': 3 });
    expect(report.warnings).toEqual([
      expect.stringMatching(/^1 of \d requests for instructions were refused; the last: .*policy/),
    ]);
  });

  test('of the model that judges: what it was about has no score', async () => {
    await using server = await fakeEndpoint((seen, response) =>
      seen.body.messages.some(({ content }) => content.includes('BOMB'))
        ? json(response, filtered, 400)
        : json(response, completion('{"score": 7, "winner": "tie"}')),
    );
    const provider = providerOf(server);
    const items = ['rivers', 'BOMB', 'lakes'].map((prompt) => ({
      prompt,
      answers: { base: 'a', tuned: 'b' },
    }));
    const pairwise = await judge(items, { provider });
    expect(pairwise).toMatchObject({ judged: 2, unparsed: 1, ties: 2, refused: 2 });
    expect(await judge(items, { provider, mode: 'score' })).toMatchObject({
      unparsed: { base: 1, tuned: 1 },
      refused: 2,
    });
    await expect(judge(items, { provider, onRefusal: 'end' })).rejects.toThrow(/content manag/);
    const texts = ['fine', 'with a BOMB', 'finer'];
    const { rows: pairs } = await makePreferencePairs([{ prompt: 'q' }], {
      provider: scripted((_, sample) => texts[sample]!),
      judge: provider,
      samples: 3,
    });
    expect(pairs).toEqual([]);
  });
});

describe('what concerns all requests', () => {
  const many = rowsOf(...Array.from({ length: 40 }, (_, i) => `thing ${i}`));

  test.each<[string, number, object, RegExp]>([
    ['a wrong key', 401, { error: 'who are you' }, /401.*who are you.*Check apiKey/s],
    ['a forbidden model', 403, { error: 'no access' }, /403/],
    ['no such model', 404, { error: 'no model' }, /404.*has a model "m"/s],
    ['no money', 429, { error: { message: 'x', code: 'insufficient_quota' } }, /429/],
  ])(
    '%s ends it at once, with the fix; a rerun pays for nothing twice',
    async (_, status, body, words) => {
      let isOpen = true;
      await using server = await fakeEndpoint((seen, response) =>
        isOpen && seen.index >= 12 ? json(response, body, status) : touchy(seen, response),
      );
      const cache: StageCache = new MemoryCache();
      const provider = providerOf(server, { maxConcurrent: 2 });
      await expect(evolInstruct(many, { provider, ...NOTHING }, { cache })).rejects.toThrow(words);
      expect(server.seen.length).toBeLessThan(17);
      isOpen = false;
      const before = server.seen.length;
      const { report } = await evolInstruct(many, { provider, ...NOTHING }, { cache });
      expect(server.seen.length - before).toBe(40 - 12);
      expect(report.facts.spent).toMatchObject({ requests: 28, cached: 12 });
    },
  );

  test('the first requests are all refused: a field that the endpoint does not know', async () => {
    await using server = await fakeEndpoint((_, response) =>
      json(response, { error: { message: 'seed: extra field' } }, 400),
    );
    const provider = providerOf(server, { maxConcurrent: 4 });
    await expect(evolInstruct(many, { provider, ...NOTHING })).rejects.toThrow(
      /the first 10 requests were all refused, none was answered.*seed: extra field.*sendSeed/s,
    );
    expect(server.seen.length).toBeLessThan(16);
    // Fewer rows than that are counted, one by one.
    const { report } = await evolInstruct(many.slice(0, 3), { provider, ...NOTHING });
    expect(report.dropped).toEqual({ 'refused by the provider': 3 });
  });

  test('a server that is gone ends it, one that fails at one text does not', async () => {
    await using server = await fakeEndpoint((seen, response) =>
      seen.index > 20 ? response.writeHead(503).end() : touchy(seen, response),
    );
    const provider = providerOf(server, { maxConcurrent: 1 });
    await expect(evolInstruct(many, { provider, ...NOTHING })).rejects.toThrow(/503/);
    await using down = await fakeEndpoint((_, response) => response.writeHead(500).end());
    await expect(
      evolInstruct(many, { provider: providerOf(down, { maxConcurrent: 1 }), ...NOTHING }),
    ).rejects.toThrow(/500/);
    expect(down.seen.length).toBe(6);
  });

  test('a signal ends it with its reason, at once, and what was answered is kept', async () => {
    await using server = await fakeEndpoint((seen, response) =>
      setTimeout(() => touchy(seen, response), seen.index < 20 ? 5 : 60_000),
    );
    const cache: StageCache = new MemoryCache();
    const controller = new AbortController();
    const provider = providerOf(server, { maxConcurrent: 2 });
    const options = { provider, ...NOTHING };
    const { signal } = controller;
    const running = evolInstruct(many, options, { cache, signal }).then(() => 'done');
    const begin = performance.now();
    while (server.seen.length < 21 && performance.now() - begin < 4000)
      await new Promise((resolve) => setTimeout(resolve, 5));
    const atMs = performance.now();
    controller.abort(new Error('enough'));
    await expect(running).rejects.toThrow('enough');
    expect(performance.now() - atMs).toBeLessThan(1000);
    await using other = await fakeEndpoint(touchy);
    // The same provider to the cache: its address is that of the first.
    const fingerprint = () => provider.fingerprint();
    const again = { ...providerOf(other, { maxConcurrent: 2 }), fingerprint };
    await evolInstruct(many, { ...options, provider: again }, { cache });
    // One that was under way may have been among the first twenty.
    expect([20, 21]).toContain(other.seen.length);
  });

  test('a pipeline in a folder keeps what was answered before it', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'attune-refusals-'));
    try {
      let isOpen = true;
      await using server = await fakeEndpoint((seen, response) =>
        isOpen && seen.index >= 7 ? json(response, {}, 401) : touchy(seen, response),
      );
      const run = () =>
        pipeline(many)
          .evolInstruct({ provider: providerOf(server, { maxConcurrent: 1 }), ...NOTHING })
          .writeTo(join(folder, 'out'));
      await expect(run()).rejects.toThrow(/401/);
      isOpen = false;
      const before = server.seen.length;
      await run();
      expect(server.seen.length - before).toBe(40 - 7);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});
