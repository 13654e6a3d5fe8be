import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import {
  type Attune,
  AutoModelForCausalLM,
  AutoTokenizer,
  type CausalLM,
  createAttune,
} from '@attune/core';
import { silentLogger } from '@attune/core/util';
import { cachedProvider, type LLMRequest, localProvider } from '@attune/data';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { MemoryCache } from '../../src/pipeline/memoryCache.js';
import { bytes, tinyConfig } from '../selection/support.js';

/** Bytes as tokens, with a template: role, colon, text. */
const tokenizer = {
  ...bytes,
  chatTemplate: 'a template',
  decode: (ids: ArrayLike<number>) =>
    Buffer.from(
      Array.from(ids)
        .filter((id) => id > 2)
        .map((id) => id - 3),
    ).toString('latin1'),
  applyChatTemplate: (messages: readonly { role: string; content?: unknown }[]) =>
    `${messages.map(({ role, content }) => `${role}:${content}\n`).join('')}assistant:`,
};

let attune: Attune;
let model: CausalLM;
beforeAll(async () => {
  attune = await createAttune({ backend: 'reference', logger: silentLogger, seed: 3 });
  model = await AutoModelForCausalLM.fromConfig(tinyConfig, { attune });
});
afterAll(() => attune.dispose());

const say = (content: string, more: Partial<LLMRequest> = {}): LLMRequest => ({
  messages: [{ role: 'user', content }],
  maxTokens: 6,
  ...more,
});

describe('a tiny model', () => {
  test('requests that wait are written together, and are what each is alone', async () => {
    const requests = [
      say('a'),
      say('something longer', { temperature: 1, seed: 1 }),
      say('b', { temperature: 1, seed: 2 }),
      say('a', { temperature: 1, seed: 1, n: 3 }),
      say('b', { temperature: 1, seed: 2 }),
      say('c', { maxTokens: 3 }),
    ];
    const generate = vi.spyOn(model, 'generate');
    const alone: (readonly string[])[] = [];
    for (const request of requests)
      alone.push((await localProvider({ model, tokenizer }).complete(request)).texts);
    expect(generate).toHaveBeenCalledTimes(6);
    generate.mockClear();
    const provider = localProvider({ model, tokenizer });
    const together = await Promise.all(requests.map((request) => provider.complete(request)));
    expect(together.map(({ texts }) => texts)).toEqual(alone);
    // The greedy ones of 6 tokens, the drawn ones, the one of 3 tokens.
    expect(generate).toHaveBeenCalledTimes(3);
    generate.mockRestore();
    expect(alone[2]).toEqual(alone[4]);
    expect(new Set(alone[3]).size).toBe(3);
    expect(together[3]).toMatchObject({
      finishReasons: ['length', 'length', 'length'],
      usage: { promptTokens: 'user:a\nassistant:'.length, completionTokens: 18 },
      cost: 0,
    });
  });

  test('no batch is larger than it may be', async () => {
    const generate = vi.spyOn(model, 'generate');
    const provider = localProvider({ model, tokenizer, batchSize: 2 });
    await Promise.all(Array.from({ length: 5 }, (_, i) => provider.complete(say(`${i}`))));
    expect(generate.mock.calls.map(([options]) => (options.inputIds as unknown[]).length)).toEqual([
      2, 2, 1,
    ]);
    generate.mockRestore();
  });

  test('greedy answers are one answer, as often as it is wanted', async () => {
    const { texts, usage } = await localProvider({ model, tokenizer }).complete(say('a', { n: 3 }));
    expect(new Set(texts).size).toBe(1);
    expect([texts.length, usage!.completionTokens]).toEqual([3, 6]);
  });

  test('an answer ends before a stop string', async () => {
    const provider = localProvider({ model, tokenizer });
    const { texts: whole } = await provider.complete(say('a'));
    const stop = whole[0]!.slice(2, 4);
    const { texts, finishReasons } = await provider.complete(say('a', { stop: [stop] }));
    expect([texts, finishReasons]).toEqual([
      [whole[0]!.slice(0, whole[0]!.indexOf(stop))],
      ['stop'],
    ]);
  });

  test('a cache asks it once; another model, other answers', async () => {
    const cache = new MemoryCache();
    const first = await cachedProvider(localProvider({ model, tokenizer }), cache).complete(
      say('a'),
    );
    const again = await cachedProvider(localProvider({ model, tokenizer }), cache).complete(
      say('a'),
    );
    expect(again).toEqual({ ...first, isCached: true });
    const other = await AutoModelForCausalLM.fromConfig(
      { ...tinyConfig, num_hidden_layers: 1 },
      { attune },
    );
    const others = await cachedProvider(localProvider({ model: other, tokenizer }), cache).complete(
      say('a'),
    );
    expect(others.isCached).toBe(false);
  });

  test('what it cannot do, it says', async () => {
    const { chatTemplate: _, ...plain } = tokenizer;
    await expect(localProvider({ model, tokenizer: plain }).complete(say('a'))).rejects.toThrow(
      /no chat template[\s\S]*prompt: \(messages\)/,
    );
    await expect(
      localProvider({ model, tokenizer }).complete(say('x'.repeat(300))),
    ).rejects.toThrow(/DATA_LLM_REFUSED.*the model takes 256/);
    await expect(localProvider({ model: 'some/folder' }).complete(say('a'))).rejects.toThrow(
      /DATA_MODEL/,
    );
    const provider = localProvider({ model, tokenizer });
    await expect(
      provider.complete(say('a'), { signal: AbortSignal.abort(new Error('enough')) }),
    ).rejects.toThrow('enough');
    // What it would have said goes on where there is room for one token alone.
    const { texts } = await provider.complete(
      say('x'.repeat(256 - 1 - 'user:\nassistant:'.length)),
    );
    expect(texts.length).toBe(1);
  });

  test('who gives up is not waited for, and the others get their answers', async () => {
    const provider = localProvider({ model, tokenizer });
    const controller = new AbortController();
    const gone = provider.complete(say('a'), { signal: controller.signal });
    const stays = provider.complete(say('b'));
    controller.abort(new Error('enough'));
    await expect(gone).rejects.toThrow('enough');
    expect((await stays).texts.length).toBe(1);
  });
});

const stories = resolve(import.meta.dirname, '../../../../../shared/models/stories260k');
const hasStories = existsSync(resolve(stories, 'model.safetensors'));

test.skipIf(!hasStories)(
  `stories260k tells its story${hasStories ? '' : ` (skipped: no ${stories})`}`,
  async () => {
    const provider = localProvider({
      model: await AutoModelForCausalLM.fromPretrained(stories, { attune, dtype: 'float32' }),
      tokenizer: await AutoTokenizer.fromPretrained(stories),
      prompt: (messages) => messages.at(-1)!.content,
    });
    const { texts } = await provider.complete(say('Once upon a time', { maxTokens: 12 }));
    expect(texts[0]).toMatch(/^, there was a little girl named L/);
  },
);
