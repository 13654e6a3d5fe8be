import { AttuneError } from '@attune/core';
import { isPlainObject, type OptionsInput, type PlainJson, parseOptions } from '@attune/core/util';
import pRetry, { AbortError } from 'p-retry';
import { z } from 'zod';
import type { EmbedCall, Embedder } from '../contract/embedder.js';

const endpointShape = {
  /** The address before `/embeddings`: "https://host/v1". */
  baseUrl: z.url().meta({ aka: 'url endpoint apibase' }),
  /** The name of the model there. */
  model: z.string().min(1),
  /** Sent as a bearer token. Default: none. */
  apiKey: z.string().optional().meta({ aka: 'key token' }),
  /** Length of the vectors, where the server lets it be chosen. Default: the server's. */
  dimensions: z.int().min(1).optional().meta({ aka: 'dimension dim' }),
  /** Texts of a request. Default 64. */
  batchSize: z.int().min(1).default(64),
  /** After which a request is given up. Default 60,000. */
  timeoutMs: z.int().min(1).default(60_000).meta({ aka: 'timeout' }),
  /** Times that a request is sent again after 429, 5xx, a timeout or no answer. Default 3. */
  maxRetries: z.int().min(0).default(3).meta({ aka: 'retries' }),
};
const endpointOptions = z.strictObject(endpointShape);

/** Options of {@link endpointEmbedder}. */
export type EndpointEmbedderOptions = OptionsInput<typeof endpointShape>;

/**
 * Vectors of a server that speaks OpenAI's protocol: POST `{ model, input: [...] }` to
 * `baseUrl + '/embeddings'`. An empty text has the zero vector and is not sent.
 *
 * @throws UNKNOWN_OPTION, INVALID_OPTION; DATA_ENDPOINT while texts are embedded, for a server that
 *   does not answer, refuses, or answers with something else than one vector for each text
 */
export function endpointEmbedder(options: EndpointEmbedderOptions): Embedder {
  return new EndpointEmbedder(
    parseOptions(endpointOptions, options, { where: 'endpointEmbedder' }),
  );
}

class EndpointEmbedder implements Embedder {
  constructor(private readonly options: z.output<typeof endpointOptions>) {}

  get name(): string {
    return `${this.options.model} at ${new URL(this.options.baseUrl).host}`;
  }

  fingerprint(): PlainJson {
    const { baseUrl, model, dimensions = null } = this.options;
    return { baseUrl, model, dimensions };
  }

  async embed(
    texts: readonly string[],
    { signal = null }: EmbedCall = {},
  ): Promise<Float32Array[]> {
    const places = texts.map((_, i) => i).filter((i) => texts[i] !== '');
    const vectors = new Map<number, Float32Array>();
    let length = 0;
    for (let at = 0; at < places.length; at += this.options.batchSize) {
      const batch = places.slice(at, at + this.options.batchSize);
      const found = await this.#request(
        batch.map((i) => texts[i]!),
        signal,
      );
      batch.forEach((place, i) => {
        const vector = found[i]!;
        if (length > 0 && vector.length !== length)
          throw this.#wrong(`a vector of ${vector.length} numbers after one of ${length}`);
        length = vector.length;
        vectors.set(place, vector);
      });
    }
    return texts.map((_, i) => vectors.get(i) ?? new Float32Array(length));
  }

  async #request(input: readonly string[], signal: AbortSignal | null): Promise<Float32Array[]> {
    const text = await pRetry(() => this.#send(input, signal), {
      retries: this.options.maxRetries,
      ...(signal && { signal }),
    });
    let answer: unknown;
    try {
      answer = JSON.parse(text);
    } catch {
      throw this.#wrong(`what is no JSON: ${JSON.stringify(text.slice(0, 80))}`);
    }
    return this.#vectors(answer, input.length);
  }

  async #send(input: readonly string[], signal: AbortSignal | null): Promise<string> {
    const { baseUrl, model, apiKey, dimensions, timeoutMs } = this.options;
    const timeout = AbortSignal.timeout(timeoutMs);
    let response: Response;
    let body: string;
    try {
      response = await fetch(`${baseUrl.replace(/\/+$/, '')}/embeddings`, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          ...(apiKey !== undefined && { authorization: `Bearer ${apiKey}` }),
        },
        body: JSON.stringify({ model, input, ...(dimensions !== undefined && { dimensions }) }),
        signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
      });
      body = await response.text();
    } catch (cause) {
      signal?.throwIfAborted();
      const what = timeout.aborted ? `no answer within ${timeoutMs} ms` : 'no answer';
      throw this.#failed(what, 'Check that the server runs and is reached.', cause);
    }
    if (response.ok) return body;
    const error = this.#failed(
      `status ${response.status}: ${JSON.stringify(body.slice(0, 200))}`,
      'Check baseUrl, model and apiKey.',
    );
    const isPassing = response.status === 429 || response.status >= 500;
    throw isPassing ? error : new AbortError(error);
  }

  #vectors(answer: unknown, count: number): Float32Array[] {
    const data = isPlainObject(answer) ? answer.data : undefined;
    if (!Array.isArray(data)) throw this.#wrong('an answer without a list "data"');
    if (data.length !== count) throw this.#wrong(`${data.length} vectors for ${count} texts`);
    const vectors: (Float32Array | undefined)[] = new Array(count).fill(undefined);
    data.forEach((item: unknown, at) => {
      const { index = at, embedding } = isPlainObject(item) ? item : {};
      const isVector =
        Array.isArray(embedding) && embedding.length > 0 && embedding.every(Number.isFinite);
      if (!isVector) throw this.#wrong(`no vector of numbers at ${at}`);
      if (typeof index !== 'number' || !(index in vectors) || vectors[index])
        throw this.#wrong(`the index ${JSON.stringify(index)} of ${count} texts`);
      vectors[index] = Float32Array.from(embedding as number[]);
    });
    return vectors as Float32Array[];
  }

  #wrong = (what: string): AttuneError =>
    this.#failed(
      `it gave ${what}`,
      'One vector of numbers for each text is expected, as OpenAI’s /v1/embeddings gives them.',
    );

  #failed(what: string, remedy: string, cause?: unknown): AttuneError {
    return new AttuneError('DATA_ENDPOINT', `${this.options.baseUrl}/embeddings: ${what}.`, {
      remedy,
      ...(cause !== undefined && { cause }),
    });
  }
}
