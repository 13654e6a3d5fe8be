import { AttuneError, type LanguageModel, sequenceScores } from '@attune/core';
import { longestInput } from '@attune/core/models';
import type { TextTokenizer } from '@attune/core/text';
import type { CompletionsToRate, Prompt } from './rewards.js';

/** A reward model with its tokenizer. */
export interface ModelScorer {
  /** The score of each prompt with its completion. @throws REWARD_VALUE, REWARD_TOKENIZER */
  score(given: CompletionsToRate): Promise<Float64Array>;
}

interface Facts {
  /** The policy. */
  readonly model: LanguageModel;
  readonly tokenizer: TextTokenizer | null;
  /** How messages call the reward model. */
  readonly name: string;
  readonly batchSize: number;
}

/**
 * Rates with a model that has one score for a sequence, on the device, without gradients. As in TRL
 * it reads the text of prompt and completion, tokenised by its own tokenizer without special tokens
 * of its own; of conversations, what its chat template makes of them.
 *
 * @param own the reward model's tokenizer; null: it is the policy's
 * @throws REWARD_MODEL for a model that gives no single score; REWARD_TOKENIZER for one that cannot
 *   share the policy's tokenizer
 */
export function modelScorer(
  reward: LanguageModel,
  own: TextTokenizer | null,
  { model: policy, tokenizer: shared, name, batchSize }: Facts,
): ModelScorer {
  const { scoring } = reward;
  if (!reward.scores || scoring?.numLabels !== 1)
    throw new AttuneError(
      'REWARD_MODEL',
      `${name} is a model ${scoring ? `with ${scoring.numLabels} scores` : 'without scores'} for a sequence; a reward model has one.`,
      {
        remedy:
          'Load it with AutoModelForSequenceClassification.fromPretrained(folder, { numLabels: 1 }).',
      },
    );
  if (reward.attune !== policy.attune)
    throw new AttuneError('REWARD_MODEL', `${name} lives in another Attune than the policy.`, {
      remedy: 'Load both with the same attune.',
    });
  const tokenizer = own ?? shared;
  if (!tokenizer)
    throw new AttuneError('REWARD_TOKENIZER', `${name} reads text and has no tokenizer.`, {
      remedy: 'Pass rewardTokenizers with its tokenizer in its place.',
    });
  const { vocabSize } = reward.config;
  if (!own && vocabSize !== policy.config.vocabSize)
    throw new AttuneError(
      'REWARD_TOKENIZER',
      `${name} has a vocabulary of ${vocabSize}, the policy one of ${policy.config.vocabSize}: it cannot read the policy's tokens.`,
      { remedy: "Pass rewardTokenizers with the reward model's own tokenizer in its place." },
    );
  return {
    async score(given) {
      const rows = given.prompts.map((prompt, n) =>
        tokensOf(tokenizer, prompt, given.completions[n]!),
      );
      rows.forEach((ids, n) => {
        checkRow(reward, name, ids, n);
      });
      const scores = new Float64Array(rows.length);
      for (let start = 0; start < rows.length; start += batchSize) {
        const some = rows.slice(start, start + batchSize);
        scores.set(await sequenceScores(reward, some), start);
      }
      const bad = scores.findIndex((score) => !Number.isFinite(score));
      if (bad >= 0)
        throw new AttuneError(
          'REWARD_VALUE',
          `${name}, a reward model, gave ${scores[bad]} for completion ${bad}.`,
          { remedy: 'Look at its weights: it gives no number for this text.' },
        );
      return scores;
    },
  };
}

function tokensOf(tokenizer: TextTokenizer, prompt: Prompt, completion: Prompt): readonly number[] {
  const text =
    typeof prompt === 'string'
      ? prompt + String(completion)
      : tokenizer.applyChatTemplate([...prompt, ...(completion as typeof prompt)], {
          tokenize: false,
        });
  return tokenizer.encode(text, { addSpecialTokens: false });
}

function checkRow(reward: LanguageModel, name: string, ids: readonly number[], row: number) {
  const { vocabSize } = reward.config;
  const longest = longestInput(reward);
  const outside = ids.find((id) => id < 0 || id >= vocabSize);
  if (outside !== undefined)
    throw new AttuneError(
      'REWARD_TOKENIZER',
      `${name}: completion ${row} has the token id ${outside}, outside of its vocabulary of ${vocabSize}.`,
      { remedy: 'Pass rewardTokenizers with the tokenizer that belongs to the reward model.' },
    );
  if (ids.length > longest)
    throw new AttuneError(
      'REWARD_MODEL',
      `${name}: prompt and completion ${row} are ${ids.length} tokens for the reward model, which allows ${longest}.`,
      { remedy: 'Shorten the prompts, or lower maxCompletionLength.' },
    );
}
