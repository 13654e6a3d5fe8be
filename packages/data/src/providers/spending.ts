import type { LLMCompletion, LLMUsage } from './llmProvider.js';

/** What tokens cost, in whatever currency: costs are given in the same. */
export interface TokenPrice {
  /** A million tokens of prompts. */
  readonly promptPerMillion: number;
  /** A million tokens of answers. */
  readonly completionPerMillion: number;
}

/** price.promptPerMillion * promptTokens / 10^6 + the same of completions; null: unknown. */
export const costOf = (usage: LLMUsage | null, price: TokenPrice | null): number | null =>
  usage === null || price === null
    ? null
    : (usage.promptTokens * price.promptPerMillion +
        usage.completionTokens * price.completionPerMillion) /
      1e6;

/** What requests took so far. */
export interface LLMSpending {
  /** Requests that were answered by a model. */
  readonly requests: number;
  /** Requests that a cache answered. */
  readonly cached: number;
  readonly promptTokens: number;
  readonly completionTokens: number;
  /** Answered requests whose tokens the provider did not count. */
  readonly withoutUsage: number;
  /** null: no price was given, or tokens are missing. */
  readonly cost: number | null;
}

/** Adds up what completions took. */
export class SpendingCount {
  #requests = 0;
  #cached = 0;
  #promptTokens = 0;
  #completionTokens = 0;
  #withoutUsage = 0;
  #cost: number | null = 0;

  add({ usage, cost, isCached }: LLMCompletion): void {
    if (isCached) {
      this.#cached++;
      return;
    }
    this.#requests++;
    if (usage) {
      this.#promptTokens += usage.promptTokens;
      this.#completionTokens += usage.completionTokens;
    } else this.#withoutUsage++;
    this.#cost = cost === null || this.#cost === null ? null : this.#cost + cost;
  }

  total(): LLMSpending {
    return {
      requests: this.#requests,
      cached: this.#cached,
      promptTokens: this.#promptTokens,
      completionTokens: this.#completionTokens,
      withoutUsage: this.#withoutUsage,
      cost: this.#cost,
    };
  }
}
