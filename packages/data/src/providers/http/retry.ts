import { setTimeout as sleep } from 'node:timers/promises';
import { AttuneError } from '@attune/core/util';

/** A failure that may be gone at the next try. */
export class RetryableFailure extends Error {
  constructor(
    /** What is thrown when no try is left. */
    readonly error: AttuneError,
    /** What the endpoint said about when to come again. */
    readonly retryAfterMs: number | null = null,
  ) {
    super(error.message);
  }
}

/** How often and when something is tried again. */
export interface RetryOptions {
  /** Tries after the first. */
  readonly maxRetries: number;
  /** Milliseconds before the second try, on average 3/4 of it; each later wait is twice as long. */
  readonly retryDelayMs: number;
  readonly signal?: AbortSignal | null;
}

/** Waits of our own choice end here. */
const LONGEST_BACKOFF_MS = 60_000;
/** An endpoint that wants us to wait for longer is not waited for. */
export const LONGEST_RETRY_AFTER_MS = 10 * 60_000;

/**
 * Tries until it goes well, with waits of d/2 to d for d = retryDelayMs * 2^tries: requests that
 * failed together do not come again together. An endpoint's Retry-After takes the place of it.
 * p-retry has no way to take another wait for one try.
 *
 * @throws the error of the last {@link RetryableFailure}; any other at once; the signal's reason
 */
export async function retrying<T>(attempt: () => Promise<T>, options: RetryOptions): Promise<T> {
  const { maxRetries, retryDelayMs, signal } = options;
  for (let tries = 0; ; tries++) {
    signal?.throwIfAborted();
    try {
      return await attempt();
    } catch (failure) {
      signal?.throwIfAborted();
      if (!(failure instanceof RetryableFailure)) throw failure;
      const { retryAfterMs, error } = failure;
      if (tries >= maxRetries) throw tries === 0 ? error : afterTries(error, tries + 1);
      if (retryAfterMs !== null && retryAfterMs > LONGEST_RETRY_AFTER_MS)
        throw afterTries(
          error,
          tries + 1,
          ` It asks to come again in ${Math.round(retryAfterMs / 1000)} seconds.`,
        );
      // The jitter of waits is no part of any result: it is the one thing that needs no seed.
      const backoffMs =
        Math.min(retryDelayMs * 2 ** tries, LONGEST_BACKOFF_MS) * (0.5 + Math.random() / 2);
      await pause(retryAfterMs ?? backoffMs, signal);
    }
  }
}

function afterTries(error: AttuneError, tries: number, more = ''): AttuneError {
  const sentence = error.description.replace(/\.$/, '');
  return new AttuneError(
    error.code,
    `${sentence} (${tries} ${tries === 1 ? 'try' : 'tries'}).${more}`,
    {
      ...(error.remedy !== undefined && { remedy: error.remedy }),
      details: { ...error.details, tries },
      cause: error.cause,
    },
  );
}

async function pause(ms: number, signal?: AbortSignal | null): Promise<void> {
  try {
    await sleep(ms, undefined, signal ? { signal } : {});
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  }
}

/**
 * Milliseconds that the headers of a response ask to wait: `retry-after-ms`, or `Retry-After` in
 * seconds or as a date (RFC 9110, 10.2.3). null: they do not say, not in a way that is known, or
 * no time that is left: our own waits hold, so that not all tries are made at once.
 */
export function retryAfterMs(headers: Headers, nowMs: number): number | null {
  const inMs = Number(headers.get('retry-after-ms') ?? Number.NaN);
  if (Number.isFinite(inMs) && inMs > 0) return inMs;
  const text = headers.get('retry-after')?.trim();
  if (!text) return null;
  if (/^\d/.test(text)) {
    const seconds = /^\d+(?:\.\d+)?(?:e\d+)?$/.test(text) ? Number(text) : Number.NaN;
    return seconds > 0 ? seconds * 1000 : null;
  }
  // Date.parse takes many a word for a date.
  const atMs = /^[A-Z][a-z]+, /.test(text) ? Date.parse(text) : Number.NaN;
  return atMs > nowMs ? atMs - nowMs : null;
}
