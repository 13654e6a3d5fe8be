import type { LanguageModel } from '@attune/core';
import { longestInput } from '@attune/core/models';
import type { ChatMessage } from '@attune/core/text';
import { sequenceScores } from '@attune/core/training';
import { AttuneError } from '@attune/core/util';
import { judgeScore } from '../judge/askJudge.js';
import { DEFAULT_CRITERIA } from '../judge/judgePrompts.js';
import type { Asking } from '../providers/asking.js';

/** What a scorer is given: a prompt, and completions of it. */
export interface CompletionsToScore {
  readonly prompt: string;
  readonly completions: readonly string[];
}

/** Scores of completions, in their order; null: it has none. Higher is better. */
export type CompletionScorer = (
  given: CompletionsToScore,
) => readonly (number | null)[] | Promise<readonly (number | null)[]>;

/** A model judges each completion from 1 to 10. */
export const judgeScorer =
  (judge: Asking, seed: number, criteria = DEFAULT_CRITERIA): CompletionScorer =>
  async ({ prompt, completions }) => {
    const manner = { temperature: 0, maxTokens: 512, seed, maxParseRetries: 2 };
    const shown = { prompt, reference: null, criteria };
    const findings = await Promise.all(
      completions.map((completion) => judgeScore(judge, shown, completion, manner)),
    );
    return findings.map(({ verdict }) => verdict);
  };

/** What is asked of the tokenizer of a reward model. */
export interface RewardTokenizer {
  readonly chatTemplate?: string | null;
  encode(text: string, options?: { readonly addSpecialTokens?: boolean }): readonly number[];
  applyChatTemplate?(
    messages: readonly ChatMessage[],
    options: { readonly tokenize: false },
  ): string;
}

/**
 * A reward model scores each completion: that of the conversation by its chat template, or of the
 * prompt with the completion right behind it where it has none.
 *
 * @throws DATA_MODEL for a model that gives no single score
 */
export function rewardScorer(model: LanguageModel, tokenizer: RewardTokenizer): CompletionScorer {
  if (!model.scores || model.scoring?.numLabels !== 1)
    throw new AttuneError(
      'DATA_MODEL',
      `makePreferencePairs: rewardModel gives ${model.scoring ? `${model.scoring.numLabels} scores` : 'no score'} for a text; a reward model gives one.`,
      {
        remedy:
          'Load it with AutoModelForSequenceClassification.fromPretrained(folder, { attune, numLabels: 1 }).',
      },
    );
  const textOf = (prompt: string, completion: string) =>
    tokenizer.chatTemplate && tokenizer.applyChatTemplate
      ? tokenizer.applyChatTemplate(
          [
            { role: 'user', content: prompt },
            { role: 'assistant', content: completion },
          ],
          { tokenize: false },
        )
      : prompt + completion;
  return async ({ prompt, completions }) => {
    const longest = longestInput(model);
    const rows = completions.map((completion) =>
      tokenizer.encode(textOf(prompt, completion), { addSpecialTokens: false }),
    );
    // What is too long for the model has no score.
    const fits = rows.flatMap((ids, i) => (ids.length > 0 && ids.length <= longest ? [i] : []));
    const scores = await sequenceScores(
      model,
      fits.map((i) => rows[i]!),
    );
    const all = new Array<number | null>(rows.length).fill(null);
    fits.forEach((i, at) => {
      all[i] = Number.isFinite(scores[at]) ? scores[at]! : null;
    });
    return all;
  };
}
