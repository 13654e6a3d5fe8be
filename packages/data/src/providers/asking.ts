import type { Attune } from '@attune/core';
import type { PlainJson } from '@attune/core/util';
import type { StageCache } from '../contract/dataStage.js';
import { cachedProvider } from './cachedProvider.js';
import type { LLMCompletion, LLMProvider, LLMRequest } from './llmProvider.js';
import { type ProviderChoice, resolveProvider } from './providerChoice.js';
import { type LLMSpending, SpendingCount } from './spending.js';

/** What a stage, or `judge`, asks with. */
export interface AskingParts {
  readonly attune: Attune | null;
  /** Keeps every answer. null: nothing is kept. */
  readonly cache: StageCache | string | null;
  readonly signal: AbortSignal | null;
  /** For messages. */
  readonly where: string;
}

/** A provider whose answers are kept and counted. */
export class Asking {
  readonly provider: LLMProvider;
  readonly #spending = new SpendingCount();

  constructor(
    choice: ProviderChoice,
    private readonly parts: AskingParts,
  ) {
    const provider = resolveProvider(choice, parts.attune, parts.where);
    this.provider = parts.cache === null ? provider : cachedProvider(provider, parts.cache);
  }

  /** @throws what the provider throws */
  async complete(request: LLMRequest): Promise<LLMCompletion> {
    const completion = await this.provider.complete(request, { signal: this.parts.signal });
    this.#spending.add(completion);
    return completion;
  }

  /** The first answer, without blanks around it. */
  async text(request: LLMRequest): Promise<string> {
    return (await this.complete(request)).texts[0]!.trim();
  }

  get spent(): LLMSpending {
    return this.#spending.total();
  }

  /** For the report of a stage. */
  get spentFact(): PlainJson {
    return { provider: this.provider.name, ...this.spent };
  }
}

/** What kept rows of a stage depend on, for the provider in its options. */
export const providerFingerprint = async (choice: ProviderChoice): Promise<PlainJson> =>
  typeof choice.fingerprint === 'function' ? await choice.fingerprint() : (choice as PlainJson);
