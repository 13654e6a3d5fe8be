import { AttuneError } from '@attune/core/util';
import type { MergeJob, MergeResult } from './mergeTask.js';

/** How a worker finds a method: a built-in one by its name, another in its module. */
export interface MethodPlace {
  readonly name: string;
  /** URL; null: it is built in. */
  readonly module: string | null;
}

export interface ToWorker {
  readonly job: MergeJob;
  /** null: the job has none. */
  readonly method: MethodPlace | null;
}

export type FromWorker =
  | { readonly kind: 'progress'; readonly bytes: number }
  | { readonly kind: 'done'; readonly result: MergeResult }
  | { readonly kind: 'failed'; readonly error: SentError };

/** An error on its way from a thread: classes do not survive it. */
export interface SentError {
  readonly code: string | null;
  readonly message: string;
  readonly remedy: string | null;
  readonly details: Readonly<Record<string, unknown>>;
  readonly stack: string;
}

export function sendable(error: unknown): SentError {
  const { message, stack = '' } = error instanceof Error ? error : new Error(String(error));
  if (!AttuneError.isInstance(error))
    return { code: null, message, remedy: null, details: {}, stack };
  const { code, description, remedy = null, details } = error;
  // What cannot be cloned is left out.
  const plain = Object.entries(details).filter(
    ([, value]) => typeof value !== 'object' && typeof value !== 'function',
  );
  return { code, message: description, remedy, details: Object.fromEntries(plain), stack };
}

export function received({ code, message, remedy, details, stack }: SentError): Error {
  const error =
    code === null
      ? new Error(message)
      : new AttuneError(code, message, { ...(remedy !== null && { remedy }), details });
  error.stack = stack;
  return error;
}
