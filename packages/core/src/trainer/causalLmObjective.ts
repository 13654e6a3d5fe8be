import { collateTokens, countLabels, type TokenExample } from '../dataset/collator.js';
import { tokenizeSft } from '../dataset/tokenizeSft.js';
import type { LanguageModel } from '../models/languageModel.js';
import { crossEntropy } from '../tensor/ops/crossEntropy.js';
import type { DeviceBatch, LossOutput, Objective } from './objective.js';

export interface CausalLmOptions {
  /** Tokens of a row beyond which its end is cut off. */
  readonly maxLength: number;
  /** Learn completions only; null: where a row has one. Default null. */
  readonly completionOnlyLoss?: boolean | null;
  /** Of conversations, learn only what the assistant says. Default false. */
  readonly assistantOnlyLoss?: boolean;
  /** Row -> text, for rows of a format of your own. */
  readonly formattingFunc?: ((row: never) => string) | undefined;
}

/**
 * Predicting the next token: loss = sum over the labelled positions of -log p(label). Items are those
 * positions, so that every token weighs the same, however rows fall into batches.
 *
 * A row's first token is never predicted and never counted, as in transformers since 5.x.
 */
export function causalLmObjective(options: CausalLmOptions): Objective<TokenExample> {
  const {
    maxLength,
    completionOnlyLoss = null,
    assistantOnlyLoss = false,
    formattingFunc,
  } = options;
  return {
    name: 'causal-lm',
    encode(row, { model, tokenizer, origin }) {
      const { example, truncated, boundaryMerged } = tokenizeSft(row, origin, {
        tokenizer,
        maxLength,
        vocabSize: model.config.vocabSize,
        completionOnlyLoss,
        assistantOnlyLoss,
        formattingFunc,
      });
      const notes: string[] = [];
      if (truncated) notes.push(`cut off after ${maxLength} tokens`);
      if (boundaryMerged)
        notes.push(
          'the end of the prompt merges with the completion into other tokens, which are learned with it',
        );
      return { example, notes };
    },
    collate: (examples) => collateTokens(examples, maxLength),
    countItems: ({ labels }) => countLabels(labels!.data),
    loss: causalLmLoss,
  };
}

/** Batch of `inputIds`, `labels` (shifted), `positions`, `segments`, each [B, T] -> the summed loss. */
export function causalLmLoss(model: LanguageModel, batch: DeviceBatch): LossOutput {
  const { inputIds, labels, positions = null, segments = null } = batch;
  const logits = model.forward({ inputIds: inputIds!, positions, segments }); // [B, T, V]
  const tokens = labels!.size;
  const nll = crossEntropy(logits.reshape(tokens, -1), labels!.reshape(tokens)); // [B*T]
  return { loss: nll.sum() };
}
