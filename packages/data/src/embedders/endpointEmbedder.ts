import { AttuneError } from '@attune/core';
import { isPlainObject, type OptionsInput, type PlainJson, parseOptions } from '@attune/core/util';
import { z } from 'zod';
import type { EmbedCall, Embedder } from '../contract/embedder.js';
import { describeBody, parsedJson } from '../providers/http/describeBody.js';
import { type Endpoint, endpointOf } from '../providers/http/endpoint.js';
import { failureOf, post } from '../providers/http/post.js';
import { retrying } from '../providers/http/retry.js';

const endpointShape = {
  /** Where the endpoint's paths begin: "https://host/v1". `/embeddings` is added to it. */
  baseUrl: z.string().meta({ aka: 'url endpoint apibase' }),
  /** The name of the model there. */
  model: z.string().min(1),
  /** Sent as a bearer token. It is in no error, cache or fingerprint. Default: none is sent. */
  apiKey: z.custom<string>().optional().meta({ aka: 'key token' }),
  /** The environment variable that has the key, for files that others may see. Default: none. */
  apiKeyEnv: z.string().min(1).optional().meta({ aka: 'apikeyvariable keyenv' }),
  /** Length of the vectors, where the server lets it be chosen. Default: the server's. */
  dimensions: z.int().min(1).optional().meta({ aka: 'dimension dim' }),
  /** Texts of a request. Default 64. */
  batchSize: z.int().min(1).default(64),
  /** After which a try is given up, in milliseconds; at most 300,000. Default 60,000. */
  timeoutMs: z.int().min(1).max(300_000).default(60_000).meta({ aka: 'timeout' }),
  /** Tries after the first, for what may pass: 429, 5xx, a timeout, no answer. Default 3. */
  maxRetries: z.int().min(0).default(3).meta({ aka: 'retries' }),
  /** Milliseconds before the second try; `Retry-After` wins over it. Default 500. */
  retryDelayMs: z.number().min(0).default(500).meta({ aka: 'retrydelay backoff' }),
};
const endpointOptions = z.strictObject(endpointShape);

/** Options of {@link endpointEmbedder}. */
export type EndpointEmbedderOptions = OptionsInput<typeof endpointShape>;

/**
 * Vectors of a server that speaks OpenAI's protocol: POST `{ model, input: [...] }` to
 * `baseUrl + '/embeddings'`. An empty text has the zero vector and is not sent. Redirects are not
 * followed: they could lead the key elsewhere.
 *
 * @throws UNKNOWN_OPTION, INVALID_OPTION; while texts are embedded DATA_LLM_UNREACHABLE,
 *   DATA_LLM_SETUP and DATA_LLM_REFUSED, and DATA_ENDPOINT for an answer that is not one vector for
 *   each text
 */
export function endpointEmbedder(options: EndpointEmbedderOptions): Embedder {
  const where = 'endpointEmbedder';
  const parsed = parseOptions(endpointOptions, options, { where });
  return new EndpointEmbedder(parsed, endpointOf(parsed, '/embeddings', where));
}

class EndpointEmbedder implements Embedder {
  constructor(
    private readonly options: z.output<typeof endpointOptions>,
    private readonly endpoint: Endpoint,
  ) {}

  get name(): string {
    return `${this.options.model} at ${this.endpoint.url.host}`;
  }

  fingerprint(): PlainJson {
    const { model, dimensions = null } = this.options;
    return { address: this.endpoint.address, model, dimensions };
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
    const { maxRetries, retryDelayMs } = this.options;
    const text = await retrying(() => this.#send(input, signal), {
      maxRetries,
      retryDelayMs,
      signal,
    });
    const answer = parsedJson(text);
    if (answer === undefined)
      throw this.#wrong(`an answer ${describeBody(text, this.endpoint.hideSecrets)}`);
    return this.#vectors(answer, input.length);
  }

  async #send(input: readonly string[], signal: AbortSignal | null): Promise<string> {
    const { endpoint } = this;
    const { model, dimensions, timeoutMs } = this.options;
    const body = { model, input, ...(dimensions !== undefined && { dimensions }) };
    const response = await post({ endpoint, timeoutMs }, JSON.stringify(body), signal);
    if (response.status >= 200 && response.status < 300) return response.text;
    throw failureOf(endpoint, response, () => 'Check baseUrl, model and apiKey.');
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

  #wrong(what: string): AttuneError {
    const { address, hideSecrets } = this.endpoint;
    return new AttuneError('DATA_ENDPOINT', `${address} gave ${hideSecrets(what)}.`, {
      remedy:
        'One vector of numbers for each text is expected, as OpenAI’s /v1/embeddings gives them.',
    });
  }
}
