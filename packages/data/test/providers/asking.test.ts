import { AttuneError } from '@attune/core';
import type { LLMProvider, LLMRequest } from '@attune/data';
import { expect, test } from 'vitest';
import { MemoryCache } from '../../src/pipeline/memoryCache.js';
import { Asking } from '../../src/providers/asking.js';
import { lastWords } from './scripted.js';

const say = (content: string): LLMRequest => ({ messages: [{ role: 'user', content }] });

/** Refuses, hangs or answers, as the words say. */
function moody(): LLMProvider & { readonly asked: string[] } {
  const asked: string[] = [];
  return {
    name: 'moody',
    maxConcurrent: 4,
    asked,
    fingerprint: () => 'moody',
    complete(request, { signal } = {}) {
      const words = lastWords(request);
      asked.push(words);
      return new Promise((resolve, reject) => {
        signal?.addEventListener('abort', () => reject(signal.reason), { once: true });
        if (words === 'hang') return;
        if (words === 'key') {
          const wrong = new AttuneError('DATA_LLM_SETUP', 'wrong key.', { remedy: 'Check it.' });
          setTimeout(() => reject(wrong), 5);
          return;
        }
        const completion = {
          texts: ['fine'],
          finishReasons: ['stop' as const],
          usage: null,
          model: 'moody',
          cost: null,
          isCached: false,
        };
        setTimeout(() => resolve(completion), 20);
      });
    },
  };
}
const askingOf = (provider: LLMProvider, cache = new MemoryCache()) =>
  new Asking(provider, {
    attune: null,
    cache,
    signal: null,
    where: 'test',
    refusalEnds: false,
    graceMs: 60,
  });

test('what ends all ends requests that hang, after those that are answered', async () => {
  const provider = moody();
  const cache = new MemoryCache();
  const asking = askingOf(provider, cache);
  const begin = performance.now();
  const outcomes = await Promise.allSettled(
    ['hang', 'key', 'slow', 'hang too'].map((words) => asking.ask(say(words.split(' ')[0]!))),
  );
  expect(performance.now() - begin).toBeLessThan(1000);
  expect(outcomes.map(({ status }) => status)).toEqual([
    'rejected',
    'rejected',
    'fulfilled',
    'rejected',
  ]);
  expect(outcomes[0]).toMatchObject({ reason: { code: 'DATA_LLM_SETUP' } });
  // The answer is kept, and nothing more is asked.
  const before = provider.asked.length;
  await expect(asking.ask(say('more'))).rejects.toThrow('wrong key');
  expect(provider.asked.length).toBe(before);
  const again = moody();
  await askingOf(again, cache).ask(say('slow'));
  expect(again.asked).toEqual([]);
});

test('errors that are none of a provider are thrown as they are', async () => {
  const broken: LLMProvider = {
    ...moody(),
    complete: () => Promise.reject(new TypeError('a fault of its own')),
  };
  await expect(askingOf(broken).ask(say('x'))).rejects.toThrow(TypeError);
});
