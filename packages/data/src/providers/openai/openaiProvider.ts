import { AttuneError, type PlainJson } from '@attune/core/util';
import { failureOf, post } from '../http/post.js';
import { type RefusalKind, refusalKind } from '../http/refusal.js';
import { RequestGate } from '../http/requestGate.js';
import { RetryableFailure, retrying } from '../http/retry.js';
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
import { type Choice, readCompletion } from './readCompletion.js';

/** An endpoint that counts what it was asked. */
export interface OpenAIProvider extends LLMProvider {
  /** What all requests took so far. */
  readonly spent: LLMSpending;
}

/**
 * A model behind an endpoint that speaks OpenAI's chat completions: OpenAI, vLLM, llama.cpp's
 * server, Ollama (`/v1`), and most hosts.
 *
 * A request is tried again after failures that may pass, never after those that will not: their
 * error has the endpoint's own words, and is DATA_LLM_SETUP where all requests will meet it (401,
 * 403, 404, no such host, no money), else DATA_LLM_REFUSED. Where an endpoint gives fewer answers
 * than `n`, it is asked for the others, with the next seeds. The key appears in no error, no cache
 * and no fingerprint. Redirects are not followed: they could lead the key elsewhere.
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
    const response = await post(settings, bodyOf(settings, request), signal);
    const refused = (status: number) =>
      failureOf(settings.endpoint, { ...response, status }, (of, kind) =>
        remedyOf(of, kind, settings.model),
      );
    if (response.status < 200 || response.status >= 300) throw refused(response.status);
    const read = readCompletion(
      response.text,
      settings.dropThinking,
      settings.endpoint.hideSecrets,
    );
    if ('problem' in read) {
      if (read.status !== null) throw refused(read.status);
      const isFinal = read.isError && refusalKind(200, response.text) !== null;
      throw isFinal ? refused(200) : noAnswer(settings, read.problem);
    }
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

function remedyOf(status: number, kind: RefusalKind, model: string): string {
  if (status === 401 || status === 403) return 'Check apiKey, and that it may use the model.';
  if (status === 404)
    return `Check baseUrl (it often ends in /v1), and that the endpoint has a model "${model}".`;
  if (status === 429)
    return 'Set requestsPerMinute and tokensPerMinute to the limits of the account, or lower maxConcurrent.';
  if (status >= 500) return 'Look at the server; raise maxRetries where it recovers by itself.';
  if (kind === 'content') return 'Leave the text out, or ask a model that takes it.';
  if (kind === 'length') return 'Shorten the texts, lower maxTokens, or take a longer context.';
  return 'See its words: a key, a model, or a field that it does not know (sendSeed, maxTokensField, extraBody).';
}
