import { concatBytes, utf8Bytes, utf8Text } from '../util/byteArrays.js';
import { AttuneError } from '../util/errors.js';

/** How long the client waits; tests give their own. */
export interface HubTiming {
  /** Waits between two attempts. */
  wait(ms: number): Promise<void>;
}

export const systemTiming: HubTiming = {
  wait: (ms) => new Promise((done) => setTimeout(done, ms)),
};

export interface HubHttpOptions {
  readonly hubUrl: string;
  readonly token: string | null;
  /** Longest time without a byte. */
  readonly timeoutMs: number;
  readonly timing: HubTiming;
}

/** The server answered, with a status that is none of success. */
export class HubStatusError extends Error {
  constructor(
    readonly status: number,
    readonly retryAfterMs: number | null,
    what: string,
  ) {
    super(`the answer to ${what} is status ${status}`);
  }
}

/** Attempts that bring nothing before giving up. */
const ATTEMPTS = 4;
const MAX_REDIRECTS = 10;
/** A server that asks for more patience gets another attempt, and then is given up. */
const MAX_RETRY_AFTER_MS = 60_000;
/** The longest answers are lists of 1000 files: some 300 kB. */
const MAX_JSON_BYTES = 2 ** 24;
const MAX_PAGES = 100;

/** An answer whose body is still to come. */
export interface HubBody {
  /** The place in the file where it begins. */
  readonly start: number;
  /** @throws when nothing comes for `timeoutMs` */
  readonly chunks: AsyncIterable<Uint8Array>;
}

/**
 * Speaks HTTP with a server of the Hub's protocol. Nothing it answers is believed beyond limits: of
 * time without progress, redirects, pages and sizes. Token and password go to the server itself,
 * never where it points to.
 */
export class HubHttp {
  readonly #base: URL;
  readonly #authorization: string | null;

  /** @throws HUB_URL, HUB_TOKEN */
  constructor(private readonly options: HubHttpOptions) {
    const { url, credentials } = parseHubUrl(options.hubUrl);
    this.#base = url;
    if (credentials !== null && options.token !== null)
      throw new AttuneError('HUB_URL', 'hubUrl has a password, and there is a token too.', {
        remedy: 'Give one of them; token: false sends none.',
      });
    this.#authorization =
      options.token !== null
        ? `Bearer ${options.token}`
        : credentials !== null
          ? `Basic ${btoa(String.fromCharCode(...utf8Bytes(credentials)))}`
          : null;
  }

  /** The server's address without a password, for messages. */
  get shownUrl(): string {
    return this.#base.href.replace(/\/$/, '');
  }

  /** The text of a JSON answer. */
  async json(path: string): Promise<string> {
    return (await this.#json(this.#at(path))).text;
  }

  /** The texts of a JSON answer that comes in pages. @throws HUB_PROTOCOL when they do not end */
  async *pages(path: string): AsyncGenerator<string> {
    let url: URL | null = this.#at(path);
    for (let page = 0; url !== null; page++) {
      if (page === MAX_PAGES) throw this.#broken(`a list goes on after ${MAX_PAGES} pages`);
      const { text, link }: { text: string; link: string | null } = await this.#json(url);
      yield text;
      const next: string | undefined = /<([^>]*)>\s*;[^,]*\brel="?next"?/.exec(link ?? '')?.[1];
      if (next === undefined) return;
      url = this.#resolve(next, url);
      if (url.origin !== this.#base.origin)
        throw this.#broken(`a list goes on at another server, ${url.origin}`);
    }
  }

  /** Opens a file from a byte on. The server may give it from the beginning instead. */
  async open(path: string, start: number): Promise<HubBody> {
    const watch = new Watchdog(this.options.timeoutMs);
    try {
      const headers = { ...(start > 0 && { range: `bytes=${start}-` }) };
      const response = await this.#request(this.#at(path), headers, watch);
      const range = /^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '')?.[1];
      if (response.status === 206 && Number(range) !== start)
        throw this.#broken(`bytes from ${start} on were asked for, ${range ?? 'none'} came`);
      return {
        start: response.status === 206 ? start : 0,
        chunks: watch.chunks(response),
      };
    } catch (error) {
      throw watch.explain(error);
    }
  }

  /**
   * Runs until it succeeds, fails for good, or fails too often.
   *
   * @param progressed whether it got further
   */
  async retry<T>(
    run: () => Promise<T>,
    progressed: () => Promise<boolean> = async () => false,
  ): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await run();
      } catch (error) {
        if (await progressed()) attempt = 1;
        if (attempt === ATTEMPTS || !mayPass(error)) throw error;
        const asked = error instanceof HubStatusError ? error.retryAfterMs : null;
        await this.options.timing.wait(Math.min(asked ?? 200 * 2 ** attempt, MAX_RETRY_AFTER_MS));
      }
    }
  }

  #json(url: URL): Promise<{ readonly text: string; readonly link: string | null }> {
    return this.retry(async () => {
      const watch = new Watchdog(this.options.timeoutMs);
      try {
        const response = await this.#request(url, {}, watch);
        const parts: Uint8Array[] = [];
        let length = 0;
        for await (const chunk of watch.chunks(response)) {
          length += chunk.byteLength;
          if (length > MAX_JSON_BYTES)
            throw this.#broken(`an answer has more than ${MAX_JSON_BYTES} bytes`);
          parts.push(chunk);
        }
        return { text: utf8Text(concatBytes(parts)), link: response.headers.get('link') };
      } catch (error) {
        throw watch.explain(error);
      }
    });
  }

  async #request(
    from: URL,
    headers: Readonly<Record<string, string>>,
    watch: Watchdog,
  ): Promise<Response> {
    let url = from;
    for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
      const isOwn = url.origin === this.#base.origin;
      const response = await fetch(url, {
        headers: {
          ...headers,
          // Sizes and places are those of the file itself.
          'accept-encoding': 'identity',
          ...(isOwn && this.#authorization !== null && { authorization: this.#authorization }),
        },
        redirect: 'manual',
        signal: watch.signal,
      });
      const location = response.headers.get('location');
      if (response.ok) return response;
      await response.body?.cancel();
      if (response.status < 300 || response.status >= 400 || location === null)
        throw new HubStatusError(response.status, retryAfter(response), from.pathname);
      url = this.#resolve(location, url);
    }
    throw this.#broken(`more than ${MAX_REDIRECTS} redirects`);
  }

  /**
   * Where the server points to: over HTTP, and not out of an encrypted connection into a plain one.
   */
  #resolve(target: string, from: URL): URL {
    const url = URL.canParse(target, from.href) ? new URL(target, from) : null;
    if (url === null || (url.protocol !== 'https:' && url.protocol !== from.protocol))
      throw this.#broken(
        `it points to ${url === null ? 'what is no address' : `an address of ${url.protocol}`}`,
      );
    url.username = '';
    url.password = '';
    return url;
  }

  #at(path: string): URL {
    return new URL(this.#base.pathname.replace(/\/$/, '') + path, this.#base);
  }

  #broken(what: string): AttuneError {
    return new AttuneError('HUB_PROTOCOL', `${this.shownUrl}: ${what}.`, {
      remedy: 'Check hubUrl: the server does not speak the Hub’s protocol.',
    });
  }
}

/** Ends a request when nothing has come for a while. */
class Watchdog {
  readonly #controller = new AbortController();
  #timer: ReturnType<typeof setTimeout>;

  constructor(private readonly timeoutMs: number) {
    this.#timer = this.#start();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  async *chunks(response: Response): AsyncGenerator<Uint8Array> {
    try {
      this.#touch();
      for await (const chunk of response.body ?? []) {
        // While the reader is busy nobody waits for the server.
        clearTimeout(this.#timer);
        yield chunk;
        this.#touch();
      }
    } catch (error) {
      throw this.explain(error);
    } finally {
      clearTimeout(this.#timer);
    }
  }

  /** The error to throw for one that ended the request. */
  explain(error: unknown): unknown {
    clearTimeout(this.#timer);
    return this.signal.aborted
      ? new Error(`nothing came for ${this.timeoutMs / 1000} s`, { cause: error })
      : error;
  }

  #touch(): void {
    clearTimeout(this.#timer);
    this.#timer = this.#start();
  }

  #start(): ReturnType<typeof setTimeout> {
    return setTimeout(() => this.#controller.abort(), this.timeoutMs);
  }
}

/** @throws HUB_URL, never repeating a password */
function parseHubUrl(text: string): { readonly url: URL; readonly credentials: string | null } {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !/^https?:$/.test(url.protocol))
    throw new AttuneError(
      'HUB_URL',
      `hubUrl is ${url === null ? 'no address' : `an address of ${url.protocol}`}, expected one of http: or https:.`,
      { remedy: 'Give e.g. "https://huggingface.co", or leave it out.' },
    );
  const { username, password } = url;
  url.username = '';
  url.password = '';
  url.search = '';
  url.hash = '';
  const isGiven = username !== '' || password !== '';
  return { url, credentials: isGiven ? `${decoded(username)}:${decoded(password)}` : null };
}

/** What stands for itself or as %XX. The error of decoding would go out with the text in it. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new AttuneError(
      'HUB_URL',
      'hubUrl has a "%" in its user or password that means nothing.',
      {
        remedy: 'Write "%" itself as %25.',
      },
    );
  }
}

/**
 * Milliseconds to wait, which the header says as seconds or as a date; null where it says neither.
 */
function retryAfter(response: Response): number | null {
  const text = response.headers.get('retry-after');
  if (text === null) return null;
  const ms = /^\d+$/.test(text) ? 1000 * Number(text) : Date.parse(text) - Date.now();
  return Number.isNaN(ms) ? null : Math.max(ms, 0);
}

/** Whether another attempt may fare better: not where the server answered and meant it. */
function mayPass(error: unknown): boolean {
  if (AttuneError.isInstance(error)) return false;
  if (!(error instanceof HubStatusError)) return true;
  return error.status === 429 || error.status >= 500;
}
