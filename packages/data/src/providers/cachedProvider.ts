import { isPlainObject, type PlainJson } from '@attune/core/util';
import type { StageCache } from '../contract/dataStage.js';
import { cacheKey } from './cacheKey.js';
import { DiskCache } from './diskCache.js';
import {
  checkRequest,
  type LLMCallOptions,
  type LLMCompletion,
  type LLMProvider,
  type LLMRequest,
} from './llmProvider.js';

/** Raised when records of an older kind cannot be taken any more. */
const CACHE_VERSION = 1;

interface Pending {
  readonly completion: Promise<LLMCompletion>;
  readonly signal: AbortSignal | null;
}

/**
 * Keeps every answer, so that no request is made twice: not within a run, and not after a kill.
 *
 * A request is known by the provider's fingerprint and all of its own fields: messages, seed,
 * temperature, `n`. Sampled answers are kept like others: another seed asks for another one. What
 * comes out of the cache costs nothing (`cost` 0, `isCached`). Equal requests at the same time are
 * one. Failures are not kept.
 *
 * @param cache a folder, which is made when it is missing; several providers may share it
 * @example const provider = cachedProvider(openaiProvider({ baseUrl, model }), 'out/requests');
 */
export function cachedProvider(provider: LLMProvider, cache: string | StageCache): LLMProvider {
  const store = typeof cache === 'string' ? new DiskCache(cache) : cache;
  const pending = new Map<string, Pending>();
  const ask = async (key: string, request: LLMRequest, signal: AbortSignal | null) => {
    const kept = fromJson(await store.get(key), request);
    if (kept) return kept;
    const completion = await provider.complete(request, { signal });
    if (!completion.isCached) await store.set(key, toJson(completion));
    return completion;
  };
  return {
    name: provider.name,
    fingerprint: () => provider.fingerprint(),
    maxConcurrent: provider.maxConcurrent,
    async complete(request, { signal = null }: LLMCallOptions = {}) {
      checkRequest(request);
      const key = cacheKey([CACHE_VERSION, await provider.fingerprint(), request]);
      for (;;) {
        const other = pending.get(key);
        if (!other) break;
        try {
          return { ...(await abortable(other.completion, signal)), cost: 0, isCached: true };
        } catch (error) {
          signal?.throwIfAborted();
          // Whoever asked first gave up, which is no answer for us.
          if (!other.signal?.aborted) throw error;
        }
      }
      const completion = ask(key, request, signal).finally(() => pending.delete(key));
      pending.set(key, { completion, signal });
      return completion;
    },
  };
}

/** @throws the reason of the signal, as soon as it aborts */
async function abortable<T>(promise: Promise<T>, signal: AbortSignal | null): Promise<T> {
  if (!signal) return promise;
  let stop!: () => void;
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason);
    signal.addEventListener('abort', stop, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

const toJson = ({ texts, finishReasons, usage, model }: LLMCompletion): PlainJson => ({
  texts,
  finishReasons,
  usage: usage && { ...usage },
  model,
});

/** null: nothing was kept, or what was is no completion of this request. */
function fromJson(value: PlainJson | undefined, { n = 1 }: LLMRequest): LLMCompletion | null {
  if (!isPlainObject(value)) return null;
  const { texts, finishReasons, usage, model } = value as unknown as LLMCompletion;
  const isWhole =
    Array.isArray(texts) &&
    texts.length === n &&
    texts.every((text) => typeof text === 'string') &&
    Array.isArray(finishReasons) &&
    finishReasons.length === n &&
    typeof model === 'string';
  return isWhole
    ? { texts, finishReasons, usage: usage ?? null, model, cost: 0, isCached: true }
    : null;
}
