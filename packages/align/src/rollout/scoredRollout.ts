import type { HostBatch, TrainerState, UpdateContext } from '@attune/core';
import { AttuneError } from '@attune/core';
import type { TextTokenizer } from '@attune/core/text';
import type { Fingerprint } from '@attune/core/training';
import type { PromptExample } from '../rows/promptRows.js';
import { deviationOf, meanOf, weightedRewards } from './advantages.js';
import type { CompletionRow } from './completionBatch.js';
import type { CompletionsTable } from './completions.js';
import type { CompletionsToRate, Prompt, RewardScorer } from './rewards.js';
import {
  completionOf,
  drawCompletions,
  eosTokenIds,
  promptOf,
  type Rollout,
  type RolloutFunction,
  type SamplingOptions,
} from './rollout.js';

/** What every rollout of a run shares. */
export interface RolloutSetup {
  readonly sampling: SamplingOptions;
  readonly rollout: RolloutFunction | null;
  readonly scorer: RewardScorer;
  readonly tokenizer: TextTokenizer | null;
  /** Completions that were cut off do not count in the loss. */
  readonly maskTruncatedCompletions: boolean;
  /** What a resumed run must share of it. */
  readonly fingerprint: Fingerprint;
  /** Where the run stands, for reward functions. */
  trainerState(): TrainerState | undefined;
}

/** Completions with their rewards. */
export interface ScoredRollout {
  /** Prompt by prompt. */
  readonly rows: readonly CompletionRow[];
  readonly logProbs: Rollout['logProbs'];
  /** [F][N]; NaN: no opinion. */
  readonly rewards: readonly Float64Array[];
  readonly texts: CompletionsToRate;
  /** What TRL logs of a rollout, but for what advantages give. */
  readonly metrics: Readonly<Record<string, number>>;
}

/** The examples behind the batches that `collate` made: `updates` is given arrays alone. */
export class PromptBatches {
  readonly #examples = new WeakMap<HostBatch, readonly PromptExample[]>();

  /** @returns the batch, which `of` knows from now on */
  add(batch: HostBatch, examples: readonly PromptExample[]): HostBatch {
    this.#examples.set(batch, examples);
    return batch;
  }

  of(batch: HostBatch): readonly PromptExample[] {
    const examples = this.#examples.get(batch);
    if (examples) return examples;
    throw new AttuneError('PROMPT_BATCH', 'this batch was not made by collate of its objective.', {
      remedy: 'Give updates and standIn the batches that collate made, unchanged.',
    });
  }
}

/** Draws completions of the prompts and rates them. */
export async function scoredRollout(
  setup: RolloutSetup,
  examples: readonly PromptExample[],
  numGenerations: number,
  { model, seed, signal, logger }: UpdateContext,
): Promise<ScoredRollout> {
  const { sampling, rollout, scorer, tokenizer, maskTruncatedCompletions } = setup;
  const endings = eosTokenIds(model, tokenizer);
  const drawn = await drawCompletions(
    model,
    { examples, numGenerations, seed, signal },
    { ...sampling, rollout, tokenizer, eosTokenIds: endings },
  );
  const each = examples.flatMap((example) => Array<PromptExample>(numGenerations).fill(example));
  const prompts = each.map((example) => promptOf(example, tokenizer));
  const texts: CompletionsToRate = {
    prompts,
    completions: drawn.completionIds.map(
      (ids, n): Prompt => completionOf(prompts[n]!, ids, tokenizer),
    ),
    completionIds: drawn.completionIds,
    columns: columnsOf(each),
  };
  const trainerState = setup.trainerState();
  const rewards = await scorer.rate(texts, { signal, trainerState, logger });
  const isEnd = new Set([...endings, tokenizer?.padTokenId ?? -1]);
  const isCut = drawn.completionIds.map((ids) => !isEnd.has(ids.at(-1)!));
  return {
    rows: drawn.completionIds.map((completionIds, n) => ({
      promptIds: each[n]!.promptIds,
      completionIds,
      counts: !(maskTruncatedCompletions && isCut[n]!),
    })),
    logProbs: drawn.logProbs,
    rewards,
    texts,
    metrics: {
      ...lengthMetrics(
        drawn.completionIds.map(({ length }) => length),
        isCut,
      ),
      ...rewardMetrics(scorer, rewards),
    },
  };
}

/** Each column, with the row's value for each of its completions; null where a row has none. */
function columnsOf(each: readonly PromptExample[]): Record<string, readonly unknown[]> {
  const names = new Set(each.flatMap(({ columns }) => Object.keys(columns)));
  return Object.fromEntries(
    [...names].map((name) => [name, each.map(({ columns }) => columns[name] ?? null)]),
  );
}

/** What TRL logs of the lengths of completions. @param isCut of each: no end token closes it */
export function lengthMetrics(lengths: readonly number[], isCut: readonly boolean[]) {
  const ended = lengths.filter((_, n) => !isCut[n]);
  const some = ended.length > 0 ? ended : [0];
  return {
    'completions/mean_length': meanOf(lengths),
    'completions/min_length': Math.min(...lengths),
    'completions/max_length': Math.max(...lengths),
    'completions/clipped_ratio': 1 - ended.length / lengths.length,
    'completions/mean_terminated_length': meanOf(some),
    'completions/min_terminated_length': Math.min(...some),
    'completions/max_terminated_length': Math.max(...some),
  };
}

/** Those that are no number, because too few completions have a reward, are left out. */
function rewardMetrics({ names, weights }: RewardScorer, perFunction: readonly Float64Array[]) {
  const all = Array.from(weightedRewards({ perFunction, weights }));
  const metrics: Record<string, number> = {
    reward: meanOf(all),
    rewardStd: deviationOf(all),
    'objective/scores': meanOf(all),
  };
  perFunction.forEach((own, f) => {
    metrics[`rewards/${names[f]}/mean`] = meanOf(Array.from(own));
    metrics[`rewards/${names[f]}/std`] = deviationOf(Array.from(own));
  });
  return Object.fromEntries(Object.entries(metrics).filter(([, value]) => !Number.isNaN(value)));
}

/** The table of a rollout, for people. */
export const tableOf = (
  { texts, rewards }: ScoredRollout,
  { names }: RewardScorer,
  advantages: ArrayLike<number>,
  step: number,
): CompletionsTable => ({
  step,
  rows: texts.completions.map((completion, n) => ({
    prompt: texts.prompts[n]!,
    completion,
    rewards: Object.fromEntries(
      names.map((name, f) => {
        const value = rewards[f]![n]!;
        return [name, Number.isNaN(value) ? null : value];
      }),
    ),
    advantage: advantages[n]!,
  })),
});
