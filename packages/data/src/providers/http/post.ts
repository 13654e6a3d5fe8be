import { AttuneError } from '@attune/core/util';
import { describeBody } from './describeBody.js';
import type { Endpoint } from './endpoint.js';
import { type RefusalKind, refusalKind } from './refusal.js';
import { RetryableFailure, retryAfterMs } from './retry.js';

/** What a request is sent with. */
export interface Sending {
  readonly endpoint: Endpoint;
  /** For one try, to the end of its answer. */
  readonly timeoutMs: number;
}

/** What came back, whole. */
export interface EndpointResponse {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

/** An answer that is longer is none. */
const MOST_BYTES = 64 * 2 ** 20;

/** There is no such host, or not one that can be trusted: another try meets the same. */
const NO_HOST = /^(?:ENOTFOUND|CERT_|ERR_TLS|ERR_SSL|.*SELF_SIGNED|UNABLE_TO_VERIFY|EPROTO)/;

/**
 * Sends JSON.
 *
 * @throws a RetryableFailure where no whole answer comes; DATA_LLM_SETUP where there is no such
 *   host; the signal's reason
 */
export async function post(
  { endpoint, timeoutMs }: Sending,
  body: string,
  signal: AbortSignal | null,
): Promise<EndpointResponse> {
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
    if (timeout.aborted)
      throw new RetryableFailure(
        new AttuneError(
          'DATA_LLM_UNREACHABLE',
          `${endpoint.address} gave no whole answer within ${timeoutMs} ms.`,
          {
            remedy: 'Raise timeoutMs, lower maxTokens or maxConcurrent, or look at the server.',
            details: { timeoutMs },
            cause,
          },
        ),
      );
    const { reason, code } = reasonOf(cause);
    const hasNoHost = NO_HOST.test(code);
    const error = new AttuneError(
      hasNoHost ? 'DATA_LLM_SETUP' : 'DATA_LLM_UNREACHABLE',
      `${endpoint.address} cannot be reached: ${endpoint.hideSecrets(reason)}.`,
      {
        remedy: hasNoHost
          ? 'Check the name of the host in baseUrl, and whether it is http or https.'
          : 'Check baseUrl, and that the server runs.',
        cause,
      },
    );
    throw hasNoHost ? error : new RetryableFailure(error);
  }
}

async function readBody({ body }: Response): Promise<string> {
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
function reasonOf(error: unknown): { readonly reason: string; readonly code: string } {
  if (!(error instanceof Error)) return { reason: String(error), code: '' };
  const inner = error.cause instanceof Error ? error.cause : error;
  const { code = '' } = inner as NodeJS.ErrnoException;
  return { reason: inner.message || code || inner.name, code: String(code) };
}

const mayPass = (status: number): boolean =>
  status === 408 || status === 409 || status === 425 || status === 429 || status >= 500;

/**
 * An account without money answers 429, and goes on to; so does one whose limit for a minute is
 * less than the request.
 */
const isForGood = (text: string): boolean => /"insufficient_quota"|"Request too large/.test(text);

/**
 * What a status that is no success means, or a 200 whose body is an error.
 *
 * @param remedyOf what to do about it
 */
export function failureOf(
  { address, hideSecrets }: Endpoint,
  { status, headers, text }: EndpointResponse,
  remedyOf: (status: number, kind: RefusalKind) => string,
): AttuneError | RetryableFailure {
  const words = describeBody(text, hideSecrets);
  if (status >= 300 && status < 400) {
    const to = hideSecrets(headers.get('location') ?? '').split('?')[0]!;
    return new AttuneError(
      'DATA_LLM_SETUP',
      `${address} leads on to ${to || 'nowhere'} (${status}); redirects are not followed.`,
      { remedy: 'Pass the last address as baseUrl.', details: { status, kind: 'setup' } },
    );
  }
  if (mayPass(status) && !isForGood(text)) {
    const error = new AttuneError(
      'DATA_LLM_UNREACHABLE',
      `${address} answered ${status} ${words}.`,
      {
        remedy: remedyOf(status, 'request'),
        details: { status },
      },
    );
    return new RetryableFailure(error, retryAfterMs(headers, Date.now()));
  }
  const kind = refusalKind(status, text) ?? 'request';
  return new AttuneError(
    kind === 'setup' ? 'DATA_LLM_SETUP' : 'DATA_LLM_REFUSED',
    `${address} answered ${status} ${words}.`,
    { remedy: remedyOf(status, kind), details: { status, kind } },
  );
}
