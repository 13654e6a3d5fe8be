import {
  AttuneError,
  isPlainObject,
  type OptionsInput,
  type PlainJson,
  parseOptions,
} from '@attune/core/util';
import { z } from 'zod';

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

/** What requests are sent with. */
export interface Endpoint {
  readonly url: URL;
  /** Without query: what messages and fingerprints say. */
  readonly address: string;
  readonly headers: Headers;
  /** The text without what must not be seen. */
  hideSecrets(text: string): string;
}

/** @throws UNKNOWN_OPTION, INVALID_OPTION; no message shows a key */
export function readOptions(options: OpenAIProviderOptions) {
  const parsed = parseOptions(openaiOptions, options, { where: WHERE });
  return { ...parsed, endpoint: endpointOf(parsed) };
}

type Parsed = z.output<typeof openaiOptions>;

const bad = (found: string, remedy: string): AttuneError =>
  new AttuneError('INVALID_OPTION', `${WHERE}: ${found}.`, { remedy });

function endpointOf({ baseUrl, apiKey, apiKeyEnv, headers = {} }: Parsed): Endpoint {
  const url = urlOf(baseUrl);
  const key = keyOf(apiKey, apiKeyEnv);
  const all = new Headers({ 'content-type': 'application/json', accept: 'application/json' });
  if (key !== null) all.set('authorization', `Bearer ${key}`);
  if (!isPlainObject(headers))
    throw bad('headers is no object of texts', 'Pass headers: { name: value }.');
  for (const [name, value] of Object.entries(headers))
    try {
      if (typeof value !== 'string') throw new TypeError();
      all.set(name, value);
    } catch {
      // The reason would quote the value.
      throw bad(
        `the header ${JSON.stringify(name)} has a name or a value that HTTP does not allow`,
        'A value is one line of text.',
      );
    }
  const secrets = [key, ...Object.values(headers), ...url.searchParams.values()].filter(
    (secret): secret is string => secret !== null && secret.length >= 4,
  );
  return {
    url,
    address: url.origin + url.pathname,
    headers: all,
    hideSecrets: (text) => secrets.reduce((left, secret) => left.replaceAll(secret, '***'), text),
  };
}

function urlOf(baseUrl: string): URL {
  const remedy = 'Pass where its paths begin, as "http://localhost:8000/v1".';
  let url: URL;
  try {
    url = new URL(baseUrl);
  } catch {
    throw bad(`baseUrl is no address of http: "${baseUrl.slice(0, 80)}"`, remedy);
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    throw bad(`baseUrl begins with "${url.protocol}"; expected http: or https:`, remedy);
  if (url.username !== '' || url.password !== '')
    throw bad(
      'baseUrl has a name or a password in it, which fetch refuses',
      'Take them out, and pass headers: { authorization: "Basic ..." }.',
    );
  url.hash = '';
  const path = url.pathname.replace(/\/+$/, '');
  url.pathname = path.endsWith('/chat/completions') ? path : `${path}/chat/completions`;
  return url;
}

/** The key is checked by hand: what checks options shows the value that is wrong. */
function keyOf(apiKey: unknown, apiKeyEnv: string | undefined): string | null {
  if (apiKey !== undefined && apiKeyEnv !== undefined)
    throw bad('apiKey and apiKeyEnv are both given', 'Leave one of them out.');
  if (apiKeyEnv !== undefined && process.env[apiKeyEnv] === undefined)
    throw bad(`the environment has no variable ${apiKeyEnv}`, 'Set it, or correct apiKeyEnv.');
  const key = apiKeyEnv === undefined ? apiKey : process.env[apiKeyEnv]!.trim();
  if (key === undefined) return null;
  if (typeof key !== 'string' || !/^[\x21-\x7e]+$/.test(key))
    throw bad(
      'the API key is no text of visible ASCII characters (it is not shown here)',
      'Pass it as it was issued, without spaces and line ends.',
    );
  return key;
}
