import type { LanguageModel, Row } from '@attune/core';
import { AttuneError, type OptionsInput } from '@attune/core/util';
import { z } from 'zod';
import { defineDataStage } from '../contract/dataStage.js';
import { isModel } from '../models/modelChoice.js';
import { modelFingerprint } from '../models/modelFingerprint.js';
import { stageFunction } from '../pipeline/stageFunction.js';
import { providerFingerprint, type SpentFact } from '../providers/asking.js';
import type { LLMCompletion, LLMMessage } from '../providers/llmProvider.js';
import { orderedMap } from '../providers/orderedMap.js';
import { providerChoice } from '../providers/providerChoice.js';
import { answerOf } from '../schemas/rowText.js';
import { askOf, madeRow } from './askOf.js';
import { askingOf, askingShape, leaveOut } from './augmentShape.js';
import { choosePair, LengthBalance, type PairLengths, type Scored } from './choosePair.js';
import {
  type CompletionScorer,
  judgeScorer,
  type RewardTokenizer,
  rewardScorer,
} from './completionScorer.js';

const pairsShape = {
  ...askingShape,
  /** Draws with it. Default 1: answers of one prompt must differ. */
  temperature: z.number().gt(0).default(1),
  /** Answers drawn for each prompt. Default 4. */
  samples: z.int().min(2).default(4).meta({ aka: 'k n numsamples numgenerations' }),
  /** Whether the answer that a row has is one more candidate. Default false. */
  includeAnswer: z.boolean().default(false),
  /** A model that gives each answer 1 to 10. One of judge, rewardModel, scorer is needed. */
  judge: providerChoice.optional(),
  /** What the judge goes by. Default: correct, complete, clear. */
  criteria: z.string().min(1).optional().meta({ aka: 'rubric' }),
  /** A reward model, loaded, with one score for a text. */
  rewardModel: z.custom<LanguageModel>(isModel, 'expected a model that is loaded').optional(),
  /** The tokenizer of the reward model. */
  rewardTokenizer: z.custom<RewardTokenizer>().optional(),
  /** Scores of one's own: `({ prompt, completions }) => numbers`, null for one without. */
  scorer: z
    .custom<CompletionScorer>(
      (value) => typeof value === 'function',
      'expected a function of { prompt, completions }',
    )
    .optional()
    .meta({ aka: 'score rewardfunc' }),
  /** Least difference of the two scores. Default 0: any. */
  margin: z.number().min(0).default(0).meta({ aka: 'minmargin' }),
  /** Longer answer / shorter answer, in characters, at most. Default: any. */
  maxLengthRatio: z.number().min(1).optional(),
  /**
   * Where several pairs do, prefers one that keeps chosen answers as long as rejected ones over the
   * whole set: judges like long answers, and a model learns length from it. Default true.
   */
  balanceLengths: z.boolean().default(true).meta({ aka: 'lengthbalance' }),
};

/** What the report of `makePreferencePairs` has beside its counts. */
export type PreferencePairsReport = {
  readonly lengths: PairLengths;
  readonly spent: SpentFact;
  /** Absent: no `judge` was asked. */
  readonly spentByJudge?: SpentFact;
};

/** Options of {@link makePreferencePairs}. */
export type PreferencePairsOptions = OptionsInput<typeof pairsShape>;

const options = z.strictObject(pairsShape);
type Options = z.output<typeof options>;

const WHERE = 'makePreferencePairs';

/** Makes preference pairs of prompts. */
export const preferencePairsStage = defineDataStage({
  name: WHERE,
  options,
  isCostly: true,
  fingerprint: async ({ provider, judge, rewardModel, scorer }) => ({
    provider: await providerFingerprint(provider),
    judge: judge ? await providerFingerprint(judge) : null,
    rewardModel: rewardModel ? await modelFingerprint(rewardModel) : null,
    scorer: scorer ? String(scorer) : null,
  }),
  async *run(rows, parsed, context) {
    const asking = askingOf(parsed.provider, parsed.onRefusal, context, WHERE);
    const seed = parsed.seed ?? context.seed;
    const judging = parsed.judge ? askingOf(parsed.judge, parsed.onRefusal, context, WHERE) : null;
    const score = scorerOf(parsed, judging && judgeScorer(judging, seed, parsed.criteria));
    const balance = new LengthBalance();
    const scoredRows = orderedMap(rows, asking.provider.maxConcurrent, async (item) => {
      const ask = askOf(item.row);
      if (!ask) return { item, refusal: null, found: null };
      const { completion, refusal } = await asking.ask({
        messages: messagesOf(item.row, ask.instruction),
        temperature: parsed.temperature,
        maxTokens: parsed.maxTokens,
        n: parsed.samples,
        seed,
      });
      if (refusal) return { item, refusal, found: null };
      const own = parsed.includeAnswer ? answerOf(item.row) : null;
      const candidates = wholeTexts(completion, own);
      const scores = await score({ prompt: ask.instruction, completions: candidates });
      checkScores(scores, candidates.length);
      const scored = candidates.flatMap((text, i): Scored[] => {
        const value = scores[i]!;
        return value === null ? [] : [{ text, score: value }];
      });
      return { item, refusal: null, found: { candidates, scored, model: completion.model } };
    });
    for await (const { item, refusal, found } of scoredRows) {
      if (refusal) leaveOut(context, parsed.onRefusal, item, refusal);
      if (!found) {
        if (!refusal) context.drop(item, 'no single request');
        continue;
      }
      const { candidates, scored, model } = found;
      if (candidates.length === 0) context.drop(item, 'no whole answer');
      else if (candidates.length === 1) context.drop(item, 'answers are all the same');
      else if (scored.length < 2) context.drop(item, 'answers have no scores');
      else {
        const pair = choosePair(
          scored,
          { ...parsed, maxLengthRatio: parsed.maxLengthRatio ?? null },
          balance,
        );
        if (pair === null || pair === 'length')
          context.drop(
            item,
            pair === null ? 'scores are too close' : 'lengths are too different',
            scored.map(({ score: value }) => value).join(', '),
          );
        else {
          balance.add(pair);
          yield { ...item, row: pairRow(item.row, pair.chosen, pair.rejected, model) };
        }
      }
    }
    context.fact('lengths', balance.report);
    context.fact('spent', asking.spentFact);
    if (judging) context.fact('spentByJudge', judging.spentFact);
  },
});

/** Answers that differ, without those that are empty, cut off or filtered. */
function wholeTexts({ texts, finishReasons }: LLMCompletion, own: string | null): string[] {
  const whole = texts.filter((_, i) => !['length', 'content_filter'].includes(finishReasons[i]!));
  const all = [...whole, ...(own === null ? [] : [own])].map((text) => text.trim());
  return [...new Set(all)].filter((text) => text !== '');
}

/** @throws INVALID_OPTION unless exactly one scores */
function scorerOf(
  { rewardModel, rewardTokenizer, scorer }: Options,
  judge: CompletionScorer | null,
): CompletionScorer {
  const wrong = (found: string, remedy: string) =>
    new AttuneError('INVALID_OPTION', `${WHERE}: ${found}.`, { remedy });
  const given = [judge, rewardModel, scorer].filter(Boolean).length;
  if (given !== 1)
    throw wrong(
      `${given === 0 ? 'none' : given} of judge, rewardModel and scorer ${given === 0 ? 'is' : 'are'} given`,
      'Give the one that scores answers.',
    );
  if (judge) return judge;
  if (scorer) return scorer;
  if (!rewardTokenizer)
    throw wrong('rewardModel comes without rewardTokenizer', 'Give the tokenizer of its folder.');
  return rewardScorer(rewardModel!, rewardTokenizer);
}

/** @throws DATA_SCORES */
function checkScores(scores: unknown, count: number): void {
  const isRight =
    Array.isArray(scores) &&
    scores.length === count &&
    scores.every((value) => value === null || Number.isFinite(value));
  if (!isRight)
    throw new AttuneError(
      'DATA_SCORES',
      `${WHERE}: the scorer gave ${Array.isArray(scores) ? JSON.stringify(scores).slice(0, 80) : typeof scores} for ${count} completions.`,
      { remedy: 'Return one finite number, or null, for each completion.' },
    );
}

/** What stands before the answer: a system message too, where the row has one. */
function messagesOf(row: Row, instruction: string): LLMMessage[] {
  const first = [row.messages, row.prompt].find(Array.isArray)?.[0] as
    | { readonly role?: unknown; readonly content?: unknown }
    | undefined;
  const system =
    first?.role === 'system' && typeof first.content === 'string'
      ? first.content
      : typeof row.system === 'string' && row.system !== ''
        ? row.system
        : null;
  return [
    ...(system === null ? [] : [{ role: 'system' as const, content: system }]),
    { role: 'user', content: instruction },
  ];
}

/** Columns of the row that the pair takes the place of. */
const REPLACED = [
  'messages',
  'conversations',
  'instruction',
  'input',
  'output',
  'completion',
  'system',
];

function pairRow(row: Row, chosen: Scored, rejected: Scored, model: string): Row {
  const ask = askOf(row)!;
  const messages = messagesOf(row, ask.instruction);
  const others = Object.fromEntries(
    Object.entries(row).filter(([name]) => !REPLACED.includes(name)),
  );
  const isText = typeof row.prompt === 'string' || typeof row.instruction === 'string';
  const answer = (content: string) => (isText ? content : [{ role: 'assistant', content }]);
  return madeRow(
    {
      ...others,
      prompt: isText ? ask.instruction : messages,
      chosen: answer(chosen.text),
      rejected: answer(rejected.text),
      chosen_score: chosen.score,
      rejected_score: rejected.score,
    },
    { method: WHERE, model },
  );
}

/**
 * Makes a preference pair of each prompt: several answers are drawn, a judge, a reward model or a
 * function scores them, the best and the worst that lie `margin` apart become `chosen` and
 * `rejected`.
 *
 * A row becomes `{ prompt, chosen, rejected, chosen_score, rejected_score, augmentation }` with its
 * other columns: texts for rows of text, messages for conversations. Dropped are rows "no single
 * request", "no whole answer" (empty, cut off or filtered ones are none), "answers are all the
 * same", "answers have no scores", "scores are too close", "lengths are too different", and those
 * that the provider refuses, as `onRefusal` says. An answer that the judge's provider refuses has
 * no score. The report has `lengths`: the share of pairs whose chosen answer is the
 * longer one, and the geometric mean of their length ratios (1 is balance).
 *
 * @throws INVALID_OPTION unless one of judge, rewardModel, scorer is given; DATA_SCORES
 * @example
 * const { rows: pairs } = await makePreferencePairs(rows, { provider, judge: provider, margin: 2 });
 */
export const makePreferencePairs = stageFunction<PreferencePairsOptions, PreferencePairsReport>(
  preferencePairsStage,
);
