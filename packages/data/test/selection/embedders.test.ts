import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type Attune, AutoModelForCausalLM, createAttune, silentLogger } from '@attune/core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { unitVectors } from '../../src/embedders/unitVectors.js';
import { endpointEmbedder, modelEmbedder } from '../../src/index.js';
import { modelFingerprint } from '../../src/models/modelFingerprint.js';
import { bytes, tinyConfig } from './support.js';

describe('vectors of a model', () => {
  let attune: Attune;
  beforeAll(async () => {
    attune = await createAttune({ backend: 'reference', logger: silentLogger });
  });
  afterAll(() => attune.dispose());

  const texts = ['a', 'the cat sat', '', 'on the mat, for a while'];

  test.each(['mean', 'last'] as const)(
    '%s: as from the hidden states of the text alone',
    async (pooling) => {
      const model = await AutoModelForCausalLM.fromConfig(tinyConfig, { attune });
      const embedder = modelEmbedder({ model, tokenizer: bytes, pooling, batchSize: 3 });
      const vectors = await embedder.embed(texts);
      expect(vectors[2]).toEqual(new Float32Array(model.config.hiddenSize));
      for (const [i, text] of texts.entries()) {
        if (text === '') continue;
        const ids = bytes.encode(text);
        const { engine } = model;
        const hidden = await engine
          .scope('alone', () =>
            model.hiddenStates({ inputIds: engine.tensor(ids, [1, ids.length], 'int32') }),
          )
          .data();
        const size = model.config.hiddenSize;
        const expected = Array.from({ length: size }, (_, d) => {
          const column = ids.map((_, t) => hidden[t * size + d]!);
          return pooling === 'last' ? column.at(-1)! : column.reduce((a, b) => a + b) / ids.length;
        });
        for (const [d, x] of expected.entries()) expect(vectors[i]![d]).toBeCloseTo(x, 5);
      }
    },
  );

  test('the fingerprint is that of the weights', async () => {
    const model = await AutoModelForCausalLM.fromConfig(tinyConfig, { attune });
    const same = await AutoModelForCausalLM.fromConfig(tinyConfig, { attune });
    const other = await AutoModelForCausalLM.fromConfig(tinyConfig, { attune, seed: 1 });
    expect(await modelFingerprint(same)).toBe(await modelFingerprint(model));
    expect(await modelFingerprint(other)).not.toBe(await modelFingerprint(model));
  });
});

describe('vectors of a server', () => {
  let server: Server;
  let baseUrl: string;
  let answer: (body: { input: string[] }, nth: number) => { status?: number; body: string };
  let requests: { input: string[] }[] = [];
  beforeAll(async () => {
    server = createServer((request, response) => {
      let text = '';
      request.on('data', (chunk) => {
        text += chunk;
      });
      request.on('end', () => {
        const body = JSON.parse(text);
        requests.push(body);
        const { status = 200, body: sent } = answer(body, requests.length);
        response
          .writeHead(request.url?.split('?')[0] === '/v1/embeddings' ? status : 404)
          .end(sent);
      });
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
  });
  afterAll(() => new Promise((done) => server.close(done)));

  const right = ({ input }: { input: string[] }) => ({
    body: JSON.stringify({
      data: input.map((text, index) => ({ index, embedding: [text.length, 1] })).reverse(),
    }),
  });

  test('are in the order of the texts, whatever that of the answer is', async () => {
    requests = [];
    answer = right;
    const embedder = endpointEmbedder({ baseUrl, model: 'm', batchSize: 2 });
    const vectors = await embedder.embed(['a', '', 'ccc', 'dddd']);
    expect(vectors.map((vector) => [...vector])).toEqual([
      [1, 1],
      [0, 0],
      [3, 1],
      [4, 1],
    ]);
    expect(requests.map(({ input }) => input)).toEqual([['a', 'ccc'], ['dddd']]);
    const { data, count, dimension } = await unitVectors(['', 'aaa'], embedder);
    expect([count, dimension]).toEqual([2, 2]);
    const expected = [0, 0, 3 / Math.sqrt(10), 1 / Math.sqrt(10)];
    for (const [i, x] of expected.entries()) expect(data[i]).toBeCloseTo(x, 6);
  });

  test('a request that fails for a moment is sent again', async () => {
    requests = [];
    answer = (body, nth) => (nth === 1 ? { status: 429, body: 'slower' } : right(body));
    await endpointEmbedder({ baseUrl, model: 'm', maxRetries: 1, retryDelayMs: 1 }).embed(['a']);
    expect(requests).toHaveLength(2);
  }, 10_000);

  test.each([
    ['HTML', '<html>', 'gave an answer with a page of HTML'],
    ['no data', '{"error":"x"}', 'an answer without a list "data"'],
    ['too few', '{"data":[{"embedding":[1]}]}', 'gave 1 vectors for 2 texts'],
    ['null', '{"data":[{"embedding":[1]},{"embedding":[null]}]}', 'no vector of numbers at 1'],
    [
      'two lengths',
      '{"data":[{"embedding":[1]},{"embedding":[1,2]}]}',
      'a vector of 2 numbers after one of 1',
    ],
    [
      'one twice',
      '{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[1]}]}',
      'the index 0 of 2 texts',
    ],
  ])('%s is an error', async (_name, body, message) => {
    answer = () => ({ body });
    const embedder = endpointEmbedder({ baseUrl, model: 'm', maxRetries: 0 });
    await expect(embedder.embed(['a', 'b'])).rejects.toThrow(message);
  });

  test('a key is in no message and no fingerprint', async () => {
    const apiKey = 'sk-secret-of-the-test';
    answer = () => ({ status: 400, body: `{"error": "the key ${apiKey} is odd"}` });
    const embedder = endpointEmbedder({ baseUrl: `${baseUrl}?code=hidden`, model: 'm', apiKey });
    const refused = await embedder.embed(['a']).catch((error) => error);
    const bad = (() => {
      try {
        return endpointEmbedder({ baseUrl, model: 'm', apiKey: `${apiKey}\n` });
      } catch (error) {
        return error;
      }
    })();
    const seen = `${refused} ${bad} ${JSON.stringify([await embedder.fingerprint(), embedder.name])}`;
    expect(seen).toMatch('the API key is no text');
    expect(seen).toMatch('answered 400');
    expect(seen).not.toMatch(/secret|hidden/);
  });

  test('a refusal is an error at once', async () => {
    requests = [];
    answer = () => ({ status: 401, body: 'no' });
    await expect(endpointEmbedder({ baseUrl, model: 'm' }).embed(['a'])).rejects.toThrow(
      'answered 401 with what is no object of JSON: "no"',
    );
    expect(requests).toHaveLength(1);
  });
});
