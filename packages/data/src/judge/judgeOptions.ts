import type { Attune } from '@attune/core';
import type { OptionsInput } from '@attune/core/util';
import { z } from 'zod';
import { isLLMProvider } from '../providers/llmProvider.js';
import { type ProviderChoice, providerChoice } from '../providers/providerChoice.js';
import { DEFAULT_CRITERIA } from './judgePrompts.js';

export const judgeShape = {
  /** The judge, or several: their verdicts are put together by majority, their scores by mean. */
  provider: z
    .custom<ProviderChoice | readonly ProviderChoice[]>(
      (value) =>
        Array.isArray(value)
          ? value.length > 0 && value.every((one) => providerChoice.safeParse(one).success)
          : isLLMProvider(value) || providerChoice.safeParse(value).success,
      "expected a provider, { type: 'openai', ... }, or a list of them",
    )
    .meta({ aka: 'judge judges model providers' }),
  /** "pairwise": which of two answers is better; "score": 1 to 10 each. Default "pairwise". */
  mode: z.enum(['pairwise', 'score']).default('pairwise'),
  /** What makes an answer good, in a sentence or two. Default: correct, complete, clear. */
  criteria: z.string().min(1).default(DEFAULT_CRITERIA).meta({ aka: 'rubric' }),
  /**
   * Asks about each pair in both orders: judges favour a place, most often the first. Default true.
   */
  swap: z.boolean().default(true).meta({ aka: 'positionswap swappositions' }),
  /**
   * What a pair is whose orders give different winners: a tie, as in MT-Bench (arXiv:2306.05685),
   * or left out of all rates. Default "tie".
   */
  onDisagreement: z.enum(['tie', 'leave-out']).default('tie'),
  /** Times that a judge is asked again whose words hold no verdict. Default 2. */
  maxParseRetries: z.int().min(0).default(2),
  /**
   * What a request does that a judge's provider refuses for its texts: filtered, too long.
   * "unparsed": it is counted as such and as `refused`; "end": it ends all. Default "unparsed".
   */
  onRefusal: z.enum(['unparsed', 'end']).default('unparsed'),
  /** Default 0: the same words each time, as far as the provider can. */
  temperature: z.number().min(0).default(0),
  /** Most tokens of a judge's words. Default 512. */
  maxTokens: z.int().min(1).default(512),
  /** Seeds requests and the bootstrap. Default 0. */
  seed: z.int().min(0).default(0),
  /** Probability that intervals are made for. Default 0.95. */
  confidence: z.number().gt(0).lt(1).default(0.95).meta({ aka: 'confidencelevel' }),
  /** A folder that keeps every answer: a run that was killed goes on. Default: none. */
  cache: z.string().min(1).optional().meta({ aka: 'cachedir cachefolder' }),
  /** Loads models that `provider` names. Default: none. */
  attune: z.custom<Attune>().nullish(),
  /** Ends it early with its reason. Default: none. */
  signal: z.custom<AbortSignal>().nullish(),
  /** Told after each row. */
  onProgress: z
    .custom<(progress: { readonly done: number }) => void>((value) => typeof value === 'function')
    .optional(),
};

/** Options of {@link judge}. */
export type JudgeOptions = OptionsInput<typeof judgeShape>;

export const judgeOptions = z.strictObject(judgeShape);
