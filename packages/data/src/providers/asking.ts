import type { Attune } from '@attune/core';
import { AttuneError, type PlainJson } from '@attune/core/util';
import type { StageCache } from '../contract/dataStage.js';
import { cachedProvider } from './cachedProvider.js';
import {
  isLLMProvider,
  type LLMCompletion,
  type LLMProvider,
  type LLMRequest,
} from './llmProvider.js';
import { type ProviderChoice, resolveProvider } from './providerChoice.js';
import { type Refusal, refusalOf } from './refusal.js';
import { type LLMSpending, SpendingCount } from './spending.js';

/** What requests of a stage took, and who was asked. */
export type SpentFact = Readonly<LLMSpending> & {
  readonly provider: string;
  /** Requests that the endpoint refused for what they say. Absent: none. */
  readonly refused?: number;
};

/** What a stage, or `judge`, asks with. */
export interface AskingParts {
  readonly attune: Attune | null;
  /** Keeps every answer. null: nothing is kept. */
  readonly cache: StageCache | string | null;
  readonly signal: AbortSignal | null;
  /** For messages. */
  readonly where: string;
  /** Whether a request that is refused ends all. */
  readonly refusalEnds: boolean;
  /** Milliseconds that requests under way have after one that ends all. Default 10,000. */
  readonly graceMs?: number;
}

/** An answer, or why this one request has none. */
export type Asked =
  | { readonly completion: LLMCompletion; readonly refusal: null }
  | { readonly completion: null; readonly refusal: Refusal };

/** Requests that may be refused before one is answered: then something is wrong with all. */
const MOST_REFUSED_FIRST = 10;
/** Requests in a row without an answer, retries included: then the endpoint is gone. */
const MOST_SILENT_IN_A_ROW = 3;

const GRACE_MS = 10_000;

/** A provider whose answers are kept and counted. */
export class Asking {
  readonly provider: LLMProvider;
  readonly #spending = new SpendingCount();
  #answered = 0;
  #refused = 0;
  #silentInARow = 0;
  /** What ended all. */
  #end: unknown = null;
  readonly #ending = new AbortController();
  readonly #signal: AbortSignal;

  constructor(
    choice: ProviderChoice,
    private readonly parts: AskingParts,
  ) {
    const { signal } = this.#ending;
    this.#signal = parts.signal ? AbortSignal.any([parts.signal, signal]) : signal;
    const provider = resolveProvider(choice, parts.attune, parts.where);
    this.provider = parts.cache === null ? provider : cachedProvider(provider, parts.cache);
  }

  /** Requests that were refused. */
  get refused(): number {
    return this.#refused;
  }

  /**
   * Asks. What is the matter with this one request alone is given as a refusal. After an error that
   * ends all nothing more is asked; requests under way have a while to be answered and kept, so
   * that one which waits for its next try holds up no error.
   *
   * @throws what the provider throws about all requests: DATA_LLM_SETUP, DATA_LLM_UNREACHABLE;
   *   also where the first requests are all refused, or several in a row are not answered
   */
  async ask(request: LLMRequest): Promise<Asked> {
    if (this.#end !== null) throw this.#end;
    try {
      const completion = await this.provider.complete(request, { signal: this.#signal });
      this.#spending.add(completion);
      this.#answered++;
      this.#silentInARow = 0;
      return { completion, refusal: null };
    } catch (error) {
      this.#signal.throwIfAborted();
      const refusal = this.parts.refusalEnds ? null : refusalOf(error);
      if (!refusal) throw this.#endAll(error);
      this.#refused++;
      this.#silentInARow = refusal.isSilence ? this.#silentInARow + 1 : 0;
      if (this.#silentInARow >= MOST_SILENT_IN_A_ROW) throw this.#endAll(error);
      if (this.#answered === 0 && this.#refused >= MOST_REFUSED_FIRST)
        throw this.#endAll(allRefused(error as AttuneError, this.parts.where, this.#refused));
      return { completion: null, refusal };
    }
  }

  #endAll(error: unknown): unknown {
    if (this.#end !== null) return this.#end;
    this.#end = error;
    const timer = setTimeout(() => this.#ending.abort(error), this.parts.graceMs ?? GRACE_MS);
    timer.unref();
    return error;
  }

  get spent(): LLMSpending {
    return this.#spending.total();
  }

  /** For the report of a stage. */
  get spentFact(): SpentFact {
    return {
      provider: this.provider.name,
      ...this.spent,
      ...(this.#refused > 0 && { refused: this.#refused }),
    };
  }
}

function allRefused(last: AttuneError, where: string, count: number): AttuneError {
  return new AttuneError(
    last.code,
    `${where}: the first ${count} requests were all refused, none was answered. The last: ${last.description}`,
    { ...(last.remedy !== undefined && { remedy: last.remedy }), cause: last },
  );
}

/** What kept rows of a stage depend on, for the provider in its options. */
export const providerFingerprint = async (choice: ProviderChoice): Promise<PlainJson> =>
  isLLMProvider(choice) ? choice.fingerprint() : (choice as unknown as PlainJson);
