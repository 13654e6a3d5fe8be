import { AttuneError } from '@attune/core/util';

/** Why one request has no answer. */
export interface Refusal {
  /** Under which rows are counted. */
  readonly reason: string;
  /** The provider's words. */
  readonly detail: string;
  /** Whether no answer came at all, in as many tries as there are. */
  readonly isSilence: boolean;
}

/**
 * What an error of a provider says of one request alone.
 *
 * @returns null: it concerns all requests, or is none of a provider
 */
export function refusalOf(error: unknown): Refusal | null {
  if (!(error instanceof AttuneError)) return null;
  const { code, details = {}, description: detail } = error;
  const { kind, status, timeoutMs } = details as Readonly<Record<string, unknown>>;
  if (code === 'DATA_LLM_REFUSED')
    return {
      reason:
        kind === 'content'
          ? 'filtered by the provider'
          : kind === 'length'
            ? 'too long for the provider'
            : 'refused by the provider',
      detail,
      isSilence: false,
    };
  if (code === 'DATA_LLM_ANSWER')
    return { reason: 'no readable answer of the provider', detail, isSilence: false };
  // A server that fails or hangs at one text may be fine with others.
  const isSilence =
    code === 'DATA_LLM_UNREACHABLE' && (Number(status) >= 500 || timeoutMs !== undefined);
  return isSilence ? { reason: 'no answer of the provider', detail, isSilence } : null;
}
