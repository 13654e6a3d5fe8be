import { isPlainObject, type OptionsInput, type PlainJson, parseOptions } from '@attune/core/util';
import { z } from 'zod';
import { endpointOf } from '../http/endpoint.js';

/** fetch gives up by itself when no header has come for five minutes. */
const LONGEST_TIMEOUT_MS = 300_000;

export const openaiShape = {
  /**
   * Where the endpoint's paths begin: "https://api.example.com/v1". `/chat/completions` is added
   * where it is missing; a query (`?api-version=...`) is kept.
   */
  baseUrl: z.string().meta({ aka: 'url endpoint apibase host' }),
  /** As the endpoint names it. */
  model: z.string().min(1).meta({ aka: 'modelname modelid' }),
  /** Sent as a bearer token. It is in no error, cache or fingerprint. Default: none is sent. */
  apiKey: z.custom<string>().optional().meta({ aka: 'key token apitoken' }),
  /** The environment variable that has the key, for files that others may see. Default: none. */
  apiKeyEnv: z.string().min(1).optional().meta({ aka: 'apikeyvariable keyenv' }),
  /** Further headers. Their values are secrets as well. Default none. */
  headers: z.custom<Readonly<Record<string, string>>>().optional().meta({ aka: 'defaultheaders' }),
  /** Further fields of every request: `{ top_k: 20 }`. They win over ours. Default none. */
  extraBody: z
    .custom<Readonly<Record<string, PlainJson>>>(isPlainObject, 'expected an object')
    .optional()
    .meta({ aka: 'extraparams' }),
  /** Requests under way at once. Default 8. */
  maxConcurrent: z.int().min(1).default(8).meta({ aka: 'concurrency maxworkers' }),
  /** Most requests, tries counted, within any 60 seconds. Default: no limit. */
  requestsPerMinute: z.number().min(1).optional().meta({ aka: 'rpm' }),
  /**
   * Most tokens within any 60 seconds. Those of a request that is under way are estimated: a token
   * for four characters, and `maxTokens`. Default: no limit.
   */
  tokensPerMinute: z.number().min(1).optional().meta({ aka: 'tpm' }),
  /**
   * Tries after the first, for connections that fail, timeouts, 408, 409, 425, 429, 5xx and answers
   * that are none. Default 5.
   */
  maxRetries: z.int().min(0).default(5).meta({ aka: 'retries numretries' }),
  /**
   * Milliseconds before the second try, less up to a half by chance; twice as long before each
   * further one, up to a minute. `Retry-After` wins over it. Default 500, as OpenAI's library.
   */
  retryDelayMs: z.number().min(0).default(500).meta({ aka: 'retrydelay backoff' }),
  /** Milliseconds for one try, to the end of its answer; at most 300,000. Default 120,000. */
  timeoutMs: z.int().min(1).max(LONGEST_TIMEOUT_MS).default(120_000).meta({ aka: 'timeout' }),
  /** What tokens cost. Default: costs are not counted; no price is ever guessed. */
  price: z
    .strictObject({
      promptPerMillion: z.number().min(0),
      completionPerMillion: z.number().min(0),
    })
    .optional(),
  /** Whether the seed of a request is sent. Default true; false where an endpoint refuses it. */
  sendSeed: z.boolean().default(true),
  /** What the endpoint calls the most tokens of an answer. Default "max_tokens". */
  maxTokensField: z.enum(['max_tokens', 'max_completion_tokens']).default('max_tokens'),
  /**
   * Whether an answer that begins with `<think>...</think>` comes without it. Default true. What an
   * endpoint gives as `reasoning_content` is never part of an answer.
   */
  dropThinking: z.boolean().default(true),
};

/** Options of {@link openaiProvider}. */
export type OpenAIProviderOptions = OptionsInput<typeof openaiShape>;

export const openaiOptions = z.strictObject(openaiShape);

const WHERE = 'openaiProvider';

/** @throws UNKNOWN_OPTION, INVALID_OPTION; no message shows a key */
export function readOptions(options: OpenAIProviderOptions) {
  const parsed = parseOptions(openaiOptions, options, { where: WHERE });
  return { ...parsed, endpoint: endpointOf(parsed, '/chat/completions', WHERE) };
}
