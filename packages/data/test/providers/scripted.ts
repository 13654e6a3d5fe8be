import type { LLMProvider, LLMRequest } from '@attune/data';

export interface Scripted extends LLMProvider {
  readonly requests: LLMRequest[];
}

/** A provider that answers by a function of the request, some sooner than others. */
export function scripted(
  answer: (request: LLMRequest, sample: number) => string,
  { name = 'scripted', maxConcurrent = 4 }: { name?: string; maxConcurrent?: number } = {},
): Scripted {
  const requests: LLMRequest[] = [];
  return {
    name,
    maxConcurrent,
    requests,
    fingerprint: () => name,
    async complete(request) {
      requests.push(request);
      const texts = Array.from({ length: request.n ?? 1 }, (_, i) => answer(request, i));
      // Later ones overtake earlier ones.
      await new Promise((resolve) => setTimeout(resolve, 4 - (requests.length % 4)));
      return {
        texts,
        finishReasons: texts.map(() => 'stop' as const),
        usage: { promptTokens: 10, completionTokens: 2 * texts.length },
        model: name,
        cost: 0.25,
        isCached: false,
      };
    },
  };
}

/** The words of the last message. */
export const lastWords = ({ messages }: LLMRequest): string => messages.at(-1)!.content;
