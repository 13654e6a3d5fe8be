import { AttuneError, describeValue, type PlainJson } from '@attune/core/util';
import { z } from 'zod';

/** One message of a request. */
export interface LLMMessage {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string;
}

/** What a model is asked. */
export interface LLMRequest {
  readonly messages: readonly LLMMessage[];
  /** Most tokens of an answer. Default: the provider's own limit. */
  readonly maxTokens?: number;
  /** 0 takes the likeliest token at each place. Default: the provider's own. */
  readonly temperature?: number;
  /** Draws from the fewest tokens whose probabilities reach this. Default: the provider's own. */
  readonly topP?: number;
  /** The same seed asks for the same answer. Endpoints keep it as far as they can. */
  readonly seed?: number;
  /** An answer ends before one of these. */
  readonly stop?: readonly string[];
  /** Answers that are wanted. Default 1. */
  readonly n?: number;
  /** "json": any JSON object; or a JSON schema that the answer keeps. Default: text. */
  readonly responseFormat?: 'json' | { readonly name: string; readonly schema: PlainJson };
}

/** Why an answer ended. "other": the provider gave no reason, or one of its own. */
export type LLMFinishReason = 'stop' | 'length' | 'content_filter' | 'other';

/** Tokens of one request with all of its answers, as the provider counted them. */
export interface LLMUsage {
  readonly promptTokens: number;
  readonly completionTokens: number;
}

/** What a model answered. */
export interface LLMCompletion {
  /** `n` answers. One may be empty: see its `finishReasons`. */
  readonly texts: readonly string[];
  readonly finishReasons: readonly LLMFinishReason[];
  /** null: the provider did not say. */
  readonly usage: LLMUsage | null;
  /** The model that answered, as the provider names it. */
  readonly model: string;
  /** By usage and price; 0 for what was in a cache; null where usage or price is unknown. */
  readonly cost: number | null;
  /** Whether it came out of a cache: nothing was asked. */
  readonly isCached: boolean;
}

/** What a call has beside its request. */
export interface LLMCallOptions {
  /** Ends the request, its retries and its waiting. */
  readonly signal?: AbortSignal | null;
}

/** A model that answers messages: an endpoint, a local model, recorded texts. */
export interface LLMProvider {
  /** For reports: "gpt-4o-mini at api.example.com". */
  readonly name: string;
  /** All that answers depend on beside the request: part of every cache key. Without secrets. */
  fingerprint(): PlainJson | Promise<PlainJson>;
  /** Requests that are best under way at once. */
  readonly maxConcurrent: number;
  /**
   * Answers a request.
   *
   * @throws DATA_LLM_REFUSED when the same request will be refused again, others need not be;
   *   DATA_LLM_SETUP when all requests will be; DATA_LLM_UNREACHABLE when retries did not help;
   *   DATA_LLM_ANSWER when what came was no answer; the reason of the signal
   */
  complete(request: LLMRequest, options?: LLMCallOptions): Promise<LLMCompletion>;
}

/** Whether a value can be asked. */
export const isLLMProvider = (value: unknown): value is LLMProvider =>
  typeof value === 'object' &&
  value !== null &&
  typeof (value as Partial<LLMProvider>).complete === 'function' &&
  typeof (value as Partial<LLMProvider>).name === 'string' &&
  typeof (value as Partial<LLMProvider>).fingerprint === 'function';

const requestSchema = z.strictObject({
  messages: z
    .array(z.strictObject({ role: z.enum(['system', 'user', 'assistant']), content: z.string() }))
    .min(1),
  maxTokens: z.int().min(1).optional(),
  temperature: z.number().min(0).max(100).optional(),
  topP: z.number().gt(0).max(1).optional(),
  seed: z.int().min(0).optional(),
  stop: z.array(z.string().min(1)).optional(),
  n: z.int().min(1).max(1024).optional(),
  responseFormat: z
    .union([z.literal('json'), z.strictObject({ name: z.string(), schema: z.custom<PlainJson>() })])
    .optional(),
});

/**
 * Looks at a request before it is answered.
 *
 * @throws DATA_LLM_REQUEST for one that no provider can answer
 */
export function checkRequest(request: LLMRequest): void {
  const parsed = requestSchema.safeParse(request);
  if (parsed.success) return;
  const { path, message } = parsed.error.issues[0]!;
  const where = path.map(String).join('.');
  const value = path.reduce<unknown>(
    (inner, key) => (inner as Record<PropertyKey, unknown> | undefined)?.[key],
    request,
  );
  throw new AttuneError(
    'DATA_LLM_REQUEST',
    `a request${where === '' ? '' : `: ${where}`} is ${describeValue(value)}: ${message}.`,
    { remedy: 'A request is { messages: [{ role, content }], maxTokens?, temperature?, seed? }.' },
  );
}
