import { AttuneError, type LanguageModel } from '@attune/core';
import { generative } from '@attune/core/models';
import type { TextTokenizer } from '@attune/core/text';
import type { PromptExample } from '../rows/promptRows.js';
import type { Prompt, PromptOfRow } from './rewards.js';

/** How completions are drawn: the options of `model.generate`, as TRL's GRPOConfig names them. */
export interface SamplingOptions {
  readonly maxCompletionLength: number;
  readonly temperature: number;
  readonly topP: number;
  readonly topK: number;
  readonly minP: number | null;
  readonly repetitionPenalty: number;
  /** Further options of `model.generate`; they come before those above. */
  readonly generationKwargs: Readonly<Record<string, unknown>>;
  /** Completions that are drawn at once; null: all. */
  readonly generationMicroBatch: number | null;
}

/** What a `rollout` of the user is given. */
export interface RolloutInput {
  /** As the rows have them. */
  readonly prompts: readonly PromptOfRow[];
  readonly promptIds: readonly Int32Array[];
  /** Completions of each prompt. */
  readonly numGenerations: number;
  /** Another one for each rollout, and the same after a resume. */
  readonly seed: number;
  /** Aborts when the run is to end. */
  readonly signal: AbortSignal;
}

/** What a `rollout` of the user gives. */
export interface RolloutOutput {
  /**
   * numGenerations for each prompt, prompt by prompt, each with the token that ended it; at least
   * one token each.
   */
  readonly completionIds: readonly ArrayLike<number>[];
  /** log p of each token where it was drawn. Default: the policy's own. */
  readonly logProbs?: readonly ArrayLike<number>[];
}

/** Draws completions in the place of the model's own generator: a server, recorded texts. */
export type RolloutFunction = (input: RolloutInput) => RolloutOutput | Promise<RolloutOutput>;

/** Completions of a list of prompts. */
export interface Rollout {
  readonly completionIds: readonly (readonly number[])[];
  /** null: whoever drew them did not say. */
  readonly logProbs: readonly (readonly number[])[] | null;
}

/** What a rollout is drawn for. */
export interface RolloutRequest {
  readonly examples: readonly PromptExample[];
  readonly numGenerations: number;
  readonly seed: number;
  readonly signal: AbortSignal;
}

/**
 * Every id that ends a completion: those of generation_config.json (else of config.json), and the
 * tokenizer's.
 */
export function eosTokenIds(
  { config }: LanguageModel,
  tokenizer: Pick<TextTokenizer, 'eosTokenId'> | null,
): ReadonlySet<number> {
  const saved = (config.generation?.eos_token_id ?? config.eosTokenId) as number | number[];
  const own = tokenizer?.eosTokenId ?? null;
  return new Set([...[saved].flat(), ...(own === null ? [] : [own])]);
}

/**
 * Completions by the model's batched generator, or by the user's `rollout`.
 *
 * @throws ROLLOUT_FAILED for a `rollout` that throws; ROLLOUT_OUTPUT for what it may not give, with
 *   row and value; what `generate` throws; the reason of the signal
 */
export async function drawCompletions(
  model: LanguageModel,
  { examples, numGenerations, seed, signal }: RolloutRequest,
  options: SamplingOptions & {
    readonly rollout: RolloutFunction | null;
    readonly tokenizer: TextTokenizer | null;
    readonly eosTokenIds: ReadonlySet<number>;
  },
): Promise<Rollout> {
  const { rollout, tokenizer, maxCompletionLength } = options;
  if (rollout) {
    const output = await calling(signal, () =>
      rollout({
        prompts: examples.map((example) => promptOf(example, tokenizer) as PromptOfRow),
        promptIds: examples.map(({ promptIds }) => promptIds),
        numGenerations,
        seed,
        signal,
      }),
    );
    return checkRollout(output, {
      count: examples.length * numGenerations,
      vocabSize: model.config.vocabSize,
      maxCompletionLength,
    });
  }
  const prompts = examples.flatMap(({ promptIds }) =>
    Array<Int32Array>(numGenerations).fill(promptIds),
  );
  const { temperature, topP, topK, minP, repetitionPenalty, generationMicroBatch } = options;
  const { sequences } = await generative(model, 'a rollout').generate({
    inputIds: prompts,
    doSample: true,
    maxNewTokens: maxCompletionLength,
    temperature,
    topP,
    topK,
    repetitionPenalty,
    ...(minP !== null && { minP }),
    ...(generationMicroBatch !== null && { batchSize: generationMicroBatch }),
    eosTokenId: [...options.eosTokenIds],
    ...options.generationKwargs,
    seed,
    signal,
  });
  return {
    completionIds: sequences.map((ids, n) => ids.slice(prompts[n]!.length)),
    logProbs: null,
  };
}

async function calling<T>(signal: AbortSignal, call: () => T | Promise<T>): Promise<T> {
  signal.throwIfAborted();
  let stop!: () => void;
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason);
    signal.addEventListener('abort', stop);
  });
  const called = async () => {
    try {
      return await call();
    } catch (cause) {
      if (signal.aborted) throw signal.reason;
      throw new AttuneError(
        'ROLLOUT_FAILED',
        `rollout threw: ${cause instanceof Error ? cause.message : String(cause)}`,
        { cause },
      );
    }
  };
  try {
    return await Promise.race([called(), aborted]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

/** @throws ROLLOUT_OUTPUT */
function checkRollout(
  output: unknown,
  limits: {
    readonly count: number;
    readonly vocabSize: number;
    readonly maxCompletionLength: number;
  },
): Rollout {
  const { count, vocabSize, maxCompletionLength } = limits;
  const wrong = (found: string, remedy: string) =>
    new AttuneError('ROLLOUT_OUTPUT', `rollout ${found}.`, { remedy });
  const { completionIds, logProbs } = (output ?? {}) as Partial<RolloutOutput>;
  if (!Array.isArray(completionIds))
    throw wrong(
      'gave no list completionIds',
      'Return { completionIds }: for each prompt its completions after each other.',
    );
  if (completionIds.length !== count)
    throw wrong(
      `gave ${completionIds.length} completions where ${count} were asked for`,
      'Return numGenerations completions for each prompt.',
    );
  const ids = completionIds.map((given: ArrayLike<number>, n) => {
    const row = Array.from(given ?? []);
    if (row.length === 0)
      throw wrong(`gave no tokens for completion ${n}`, 'Return at least the eos token.');
    if (row.length > maxCompletionLength)
      throw wrong(
        `gave ${row.length} tokens for completion ${n}; maxCompletionLength is ${maxCompletionLength}`,
        'Cut them where they are drawn, or raise maxCompletionLength.',
      );
    const bad = row.find((id) => !Number.isInteger(id) || id < 0 || id >= vocabSize);
    if (bad !== undefined)
      throw wrong(
        `gave the token ${String(bad)} in completion ${n}; the vocabulary has ${vocabSize}`,
        "Return ids of the model's own tokenizer.",
      );
    return row;
  });
  if (logProbs === undefined) return { completionIds: ids, logProbs: null };
  if (!Array.isArray(logProbs) || logProbs.length !== count)
    throw wrong(
      `gave logProbs of ${Array.isArray(logProbs) ? logProbs.length : 0} completions for ${count}`,
      'Return one list for each completion, or leave logProbs out.',
    );
  return {
    completionIds: ids,
    logProbs: logProbs.map((given: ArrayLike<number>, n) => {
      const row = Array.from(given ?? []);
      if (row.length !== ids[n]!.length)
        throw wrong(
          `gave ${row.length} logProbs for the ${ids[n]!.length} tokens of completion ${n}`,
          'Return one for each token.',
        );
      const bad = row.find((x) => !Number.isFinite(x) || x > 1e-6);
      if (bad !== undefined)
        throw wrong(
          `gave the log-probability ${String(bad)} in completion ${n}`,
          'Return natural logarithms of probabilities, at most 0.',
        );
      return row;
    }),
  };
}

/** The prompt as its row has it; of a row of ids, the text of the ids. */
export const promptOf = (
  { prompt, promptIds }: PromptExample,
  tokenizer: TextTokenizer | null,
): Prompt => prompt ?? tokenizer?.decode?.(promptIds, { skipSpecialTokens: true }) ?? '';

/**
 * What reward functions read: a text for a text, a message of the assistant for messages. Special
 * tokens are left out, as in TRL.
 */
export function completionOf(
  prompt: Prompt,
  ids: readonly number[],
  tokenizer: TextTokenizer | null,
): Prompt {
  const content = tokenizer?.decode?.(ids, { skipSpecialTokens: true }) ?? '';
  return typeof prompt === 'string' ? content : [{ role: 'assistant', content }];
}
