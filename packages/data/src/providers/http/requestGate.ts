import { LONGEST_RETRY_AFTER_MS } from './retry.js';

/**
 * Milliseconds that limits per minute look back. An endpoint counts from when a request arrives,
 * which is some time after it left: up to a second, with a connection to be opened.
 */
const MINUTE_MS = 61_000;

/** Limits of an endpoint; null: none. */
export interface GateLimits {
  readonly maxConcurrent: number;
  readonly requestsPerMinute: number | null;
  readonly tokensPerMinute: number | null;
}

interface Waiting {
  readonly tokens: number;
  readonly enter: () => void;
}

/** A request on its way. */
export interface Passage {
  /** It is over. @param tokens what it took, where that is known */
  leave(tokens?: number): void;
}

interface Entry {
  readonly atMs: number;
  tokens: number;
}

/**
 * Lets requests pass in their order, as the limits allow: so many at once, and so many (and so
 * many tokens) within any 60 seconds at the endpoint. All of them wait while it is paused. p-queue
 * counts within fixed windows, which allows twice the limit around their borders, knows no tokens
 * and no pause by an endpoint's word.
 */
export class RequestGate {
  readonly #waiting: Waiting[] = [];
  /** Those that passed within the last minute, the oldest first. */
  readonly #passed: Entry[] = [];
  #active = 0;
  #pausedUntilMs = 0;
  #timer: NodeJS.Timeout | null = null;

  constructor(private readonly limits: GateLimits) {}

  /** Waits for its turn. @param tokens what it may take @throws the reason of the signal */
  enter(tokens: number, signal?: AbortSignal | null): Promise<Passage> {
    signal?.throwIfAborted();
    return new Promise((resolve, reject) => {
      const stop = () => {
        this.#waiting.splice(this.#waiting.indexOf(waiting), 1);
        reject(signal!.reason);
        this.#next();
      };
      const waiting: Waiting = {
        tokens,
        enter: () => {
          signal?.removeEventListener('abort', stop);
          resolve(this.#pass(tokens));
        },
      };
      signal?.addEventListener('abort', stop, { once: true });
      this.#waiting.push(waiting);
      this.#next();
    });
  }

  /** Nothing passes for so long: the endpoint said so. Nobody waits for longer than ten minutes. */
  pause(ms: number): void {
    if (ms > LONGEST_RETRY_AFTER_MS) return;
    this.#pausedUntilMs = Math.max(this.#pausedUntilMs, performance.now() + ms);
  }

  #pass(tokens: number): Passage {
    const entry: Entry = { atMs: performance.now(), tokens };
    if (this.limits.requestsPerMinute !== null || this.limits.tokensPerMinute !== null)
      this.#passed.push(entry);
    this.#active++;
    let isOver = false;
    return {
      leave: (taken) => {
        if (isOver) return;
        isOver = true;
        if (taken !== undefined) entry.tokens = taken;
        this.#active--;
        this.#next();
      },
    };
  }

  #next(): void {
    while (this.#waiting.length > 0 && this.#active < this.limits.maxConcurrent) {
      const waitMs = this.#waitMs(this.#waiting[0]!.tokens);
      if (waitMs > 0) {
        if (this.#timer) clearTimeout(this.#timer);
        this.#timer = setTimeout(() => {
          this.#timer = null;
          this.#next();
        }, Math.ceil(waitMs));
        return;
      }
      this.#waiting.shift()!.enter();
    }
    if (this.#waiting.length === 0 && this.#timer) {
      clearTimeout(this.#timer);
      this.#timer = null;
    }
  }

  /** Until the next one may pass; 0: now. */
  #waitMs(tokens: number): number {
    const now = performance.now();
    const { requestsPerMinute, tokensPerMinute } = this.limits;
    const passed = this.#passed;
    while (passed.length > 0 && passed[0]!.atMs <= now - MINUTE_MS) passed.shift();
    let waitMs = this.#pausedUntilMs - now;
    const most =
      requestsPerMinute === null ? Number.POSITIVE_INFINITY : Math.floor(requestsPerMinute);
    if (passed.length >= most)
      waitMs = Math.max(waitMs, passed[passed.length - most]!.atMs + MINUTE_MS - now);
    if (tokensPerMinute !== null) {
      // One that is larger than the limit passes alone.
      let over = passed.reduce((sum, entry) => sum + entry.tokens, tokens) - tokensPerMinute;
      for (const entry of passed) {
        if (over <= 0) break;
        over -= entry.tokens;
        waitMs = Math.max(waitMs, entry.atMs + MINUTE_MS - now);
      }
    }
    return Math.max(waitMs, 0);
  }
}
