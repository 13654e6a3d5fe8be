import { AttuneError, type PlainJson } from '@attune/core/util';
import { RequestGate } from '../http/requestGate.js';
import { RetryableFailure, retryAfterMs, retrying } from '../http/retry.js';
import {
  checkRequest,
  type LLMCallOptions,
  type LLMCompletion,
  type LLMProvider,
  type LLMRequest,
  type LLMUsage,
} from '../llmProvider.js';
import { costOf, type LLMSpending, SpendingCount } from '../spending.js';
import { type OpenAIProviderOptions, readOptions } from './openaiOptions.js';
import { type Choice, describeBody, readCompletion } from './readCompletion.js';

/** An endpoint that counts what it was asked. */
export interface OpenAIProvider extends LLMProvider {
  /** What all requests took so far. */
  readonly spent: LLMSpending;
}

/**
 * A model behind an endpoint that speaks OpenAI's chat completions: OpenAI, vLLM, llama.cpp's
 * server, Ollama (`/v1`), and most hosts.
 *
 * A request is tried again after failures that may pass, never after those that will not (400, 401,
 * 403, 404): their error has the endpoint's own words. Where an endpoint gives fewer answers than
 * `n`, it is asked for the others, with the next seeds. The key appears in no error, no cache and
 * no fingerprint. Redirects are not followed: they could lead the key elsewhere.
 *
 * @throws UNKNOWN_OPTION, INVALID_OPTION
 * @example
 * const provider = openaiProvider({
 *   baseUrl: 'http://localhost:8000/v1',
 *   model: 'Qwen/Qwen2.5-7B-Instruct',
 *   requestsPerMinute: 300,
 * });
 */
export function openaiProvider(options: OpenAIProviderOptions): OpenAIProvider {
  const settings = readOptions(options);
  const gate = new RequestGate({
    maxConcurrent: settings.maxConcurrent,
    requestsPerMinute: settings.requestsPerMinute ?? null,
    tokensPerMinute: settings.tokensPerMinute ?? null,
  });
  const spending = new SpendingCount();
  const ask = (request: LLMRequest, signal: AbortSignal | null) =>
    retrying(() => askOnce(settings, gate, request, signal), {
      maxRetries: settings.maxRetries,
      retryDelayMs: settings.retryDelayMs,
      signal,
    });
  return {
    name: `${settings.model} at ${settings.endpoint.url.host}`,
    fingerprint: () => fingerprintOf(settings),
    maxConcurrent: settings.maxConcurrent,
    get spent() {
      return spending.total();
    },
    async complete(request, { signal = null }: LLMCallOptions = {}) {
      checkRequest(request);
      const completion = await gather(settings, request, (part) => ask(part, signal));
      spending.add(completion);
      return completion;
    },
  };
}

type Settings = ReturnType<typeof readOptions>;

const fingerprintOf = ({
  endpoint,
  model,
  extraBody = {},
  sendSeed,
  dropThinking,
}: Settings): PlainJson => ({
  kind: 'openai',
  address: endpoint.address,
  model,
  extraBody,
  sendSeed,
  dropThinking,
});

interface Answers {
  readonly choices: readonly Choice[];
  readonly usage: LLMUsage | null;
  readonly model: string | null;
}

/** All answers of a request, from as many calls as the endpoint makes necessary. */
async function gather(
  { model, price }: Settings,
  request: LLMRequest,
  ask: (part: LLMRequest) => Promise<Answers>,
): Promise<LLMCompletion> {
  const { n = 1, seed } = request;
  const choices: Choice[] = [];
  let usage: LLMUsage | null = { promptTokens: 0, completionTokens: 0 };
  let answeredBy: string | null = null;
  while (choices.length < n) {
    const got = choices.length;
    const part =
      got === 0
        ? request
        : { ...request, n: n - got, ...(seed !== undefined && { seed: seed + got }) };
    const answers = await ask(part);
    choices.push(...answers.choices);
    usage = usage && answers.usage && sum(usage, answers.usage);
    answeredBy ??= answers.model;
  }
  // More than were asked for were not asked for.
  const wanted = choices.slice(0, n);
  return {
    texts: wanted.map(({ text }) => text),
    finishReasons: wanted.map(({ finishReason }) => finishReason),
    usage,
    model: answeredBy ?? model,
    cost: costOf(usage, price ?? null),
    isCached: false,
  };
}

const sum = (a: LLMUsage, b: LLMUsage): LLMUsage => ({
  promptTokens: a.promptTokens + b.promptTokens,
  completionTokens: a.completionTokens + b.completionTokens,
});

function bodyOf(settings: Settings, request: LLMRequest): string {
  const { messages, maxTokens, temperature, topP, seed, stop, n = 1, responseFormat } = request;
  const { model, extraBody, sendSeed, maxTokensField } = settings;
  return JSON.stringify({
    model,
    messages,
    ...(maxTokens !== undefined && { [maxTokensField]: maxTokens }),
    temperature,
    top_p: topP,
    ...(sendSeed && { seed }),
    ...(stop && stop.length > 0 && { stop }),
    ...(n > 1 && { n }),
    ...(responseFormat !== undefined && {
      response_format:
        responseFormat === 'json'
          ? { type: 'json_object' }
          : { type: 'json_schema', json_schema: { ...responseFormat, strict: true } },
    }),
    ...extraBody,
  });
}

/** What a request may take, for the limit of tokens. */
function estimateTokens({ messages, maxTokens = 256, n = 1 }: LLMRequest): number {
  const characters = messages.reduce((total, { content }) => total + content.length, 0);
  return Math.ceil(characters / 4) + n * maxTokens;
}

async function askOnce(
  settings: Settings,
  gate: RequestGate,
  request: LLMRequest,
  signal: AbortSignal | null,
): Promise<Answers> {
  const passage = await gate.enter(estimateTokens(request), signal);
  let taken: number | undefined;
  try {
    const { status, headers, text } = await post(settings, bodyOf(settings, request), signal);
    if (status < 200 || status >= 300) throw failureOf(settings, status, headers, text);
    const read = readCompletion(text, settings);
    if ('problem' in read)
      throw read.status === null
        ? noAnswer(settings, read.problem)
        : failureOf(settings, read.status, headers, text);
    if (read.choices.length === 0) throw noAnswer(settings, 'with an empty list of choices');
    if (read.usage) taken = read.usage.promptTokens + read.usage.completionTokens;
    return read;
  } catch (failure) {
    // Before the next one passes.
    if (failure instanceof RetryableFailure) gate.pause(failure.retryAfterMs ?? 0);
    throw failure;
  } finally {
    passage.leave(taken);
  }
}

interface Response {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

/** An answer that is longer is none. */
const MOST_BYTES = 64 * 2 ** 20;

async function post(
  { endpoint, timeoutMs }: Settings,
  body: string,
  signal: AbortSignal | null,
): Promise<Response> {
  const timeout = AbortSignal.timeout(timeoutMs);
  try {
    const response = await fetch(endpoint.url, {
      method: 'POST',
      headers: endpoint.headers,
      body,
      redirect: 'manual',
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
    });
    const { status, headers } = response;
    return { status, headers, text: await readBody(response) };
  } catch (cause) {
    signal?.throwIfAborted();
    throw new RetryableFailure(
      new AttuneError(
        'DATA_LLM_UNREACHABLE',
        timeout.aborted
          ? `${endpoint.address} gave no whole answer within ${timeoutMs} ms.`
          : `${endpoint.address} cannot be reached: ${endpoint.hideSecrets(reasonOf(cause))}.`,
        {
          remedy: timeout.aborted
            ? 'Raise timeoutMs, lower maxTokens or maxConcurrent, or look at the server.'
            : 'Check baseUrl, and that the server runs.',
          cause,
        },
      ),
    );
  }
}

async function readBody({ body }: globalThis.Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  let bytes = 0;
  for await (const chunk of (body ?? []) as AsyncIterable<Uint8Array>) {
    bytes += chunk.length;
    if (bytes > MOST_BYTES) throw new Error(`its answer is longer than ${MOST_BYTES} bytes`);
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

/** fetch says "fetch failed", and why in its cause. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const inner = error.cause instanceof Error ? error.cause : error;
  const { code } = inner as NodeJS.ErrnoException;
  return inner.message || code || inner.name;
}

function noAnswer({ endpoint }: Settings, problem: string): RetryableFailure {
  return new RetryableFailure(
    new AttuneError(
      'DATA_LLM_ANSWER',
      `${endpoint.address} answered ${endpoint.hideSecrets(problem)}.`,
      {
        remedy:
          'Check that baseUrl leads to an endpoint of chat completions (it often ends in /v1).',
      },
    ),
  );
}

const mayPass = (status: number): boolean =>
  status === 408 || status === 409 || status === 425 || status === 429 || status >= 500;

/** An account without money answers 429, and goes on to. */
const isOutOfQuota = (text: string): boolean => /"insufficient_quota"/.test(text);

function failureOf(
  { endpoint, model }: Settings,
  status: number,
  headers: Headers,
  text: string,
): AttuneError | RetryableFailure {
  const words = endpoint.hideSecrets(describeBody(text));
  if (status < 400) {
    const to = endpoint.hideSecrets((headers.get('location') ?? '').split('?')[0]!);
    return new AttuneError(
      'DATA_LLM_REFUSED',
      `${endpoint.address} leads on to ${to || 'nowhere'} (${status}); redirects are not followed.`,
      { remedy: 'Pass the last address as baseUrl.', details: { status } },
    );
  }
  const passes = mayPass(status) && !isOutOfQuota(text);
  const error = new AttuneError(
    passes ? 'DATA_LLM_UNREACHABLE' : 'DATA_LLM_REFUSED',
    `${endpoint.address} answered ${status} ${words}.`,
    { remedy: remedyOf(status, model), details: { status } },
  );
  return passes ? new RetryableFailure(error, retryAfterMs(headers, Date.now())) : error;
}

function remedyOf(status: number, model: string): string {
  if (status === 401 || status === 403) return 'Check apiKey, and that it may use the model.';
  if (status === 404)
    return `Check baseUrl (it often ends in /v1), and that the endpoint has a model "${model}".`;
  if (status === 429)
    return 'Set requestsPerMinute and tokensPerMinute to the limits of the account, or lower maxConcurrent.';
  if (status >= 500) return 'Look at the server; raise maxRetries where it recovers by itself.';
  return 'See its words: a prompt that is too long, or a field that it does not know (sendSeed, maxTokensField, extraBody).';
}
