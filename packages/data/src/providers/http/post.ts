import { AttuneError } from '@attune/core/util';
import { describeBody } from './describeBody.js';
import type { Endpoint } from './endpoint.js';
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

/** Sends JSON. @throws a RetryableFailure where no whole answer comes; the signal's reason */
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
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const inner = error.cause instanceof Error ? error.cause : error;
  const { code } = inner as NodeJS.ErrnoException;
  return inner.message || code || inner.name;
}

const mayPass = (status: number): boolean =>
  status === 408 || status === 409 || status === 425 || status === 429 || status >= 500;

/** An account without money answers 429, and goes on to. */
const isOutOfQuota = (text: string): boolean => /"insufficient_quota"/.test(text);

/** What a status that is no success means. @param remedyOf what to do about it */
export function failureOf(
  { address, hideSecrets }: Endpoint,
  { status, headers, text }: EndpointResponse,
  remedyOf: (status: number) => string,
): AttuneError | RetryableFailure {
  const words = hideSecrets(describeBody(text));
  if (status < 400) {
    const to = hideSecrets((headers.get('location') ?? '').split('?')[0]!);
    return new AttuneError(
      'DATA_LLM_REFUSED',
      `${address} leads on to ${to || 'nowhere'} (${status}); redirects are not followed.`,
      { remedy: 'Pass the last address as baseUrl.', details: { status } },
    );
  }
  const passes = mayPass(status) && !isOutOfQuota(text);
  const error = new AttuneError(
    passes ? 'DATA_LLM_UNREACHABLE' : 'DATA_LLM_REFUSED',
    `${address} answered ${status} ${words}.`,
    { remedy: remedyOf(status), details: { status } },
  );
  return passes ? new RetryableFailure(error, retryAfterMs(headers, Date.now())) : error;
}
