import { z } from 'zod';
import { IGNORE_INDEX, type TokenExample } from '../text/collator.js';
import { PACKING_STRATEGIES, packExamples } from '../text/pack.js';
import { Preflight, preflightSetting } from '../text/preflight/preflight.js';
import { numTokens, tokenizeSft } from '../text/tokenizeRow.js';
import type { RowRules, RowUse } from '../training/rowRules.js';
import { type OptionsInput, parseOptions } from '../util/options.js';

/** What rules about rows of text take. */
export const causalLmRowShape = {
  /** Tokens of a row beyond which its end is cut off. */
  maxLength: numTokens.meta({ aka: 'maxseqlength' }),
  /** Learn completions only; null: where a row has one. Default null. */
  completionOnlyLoss: z.boolean().nullable().default(null),
  /** Learn only what the assistant says in conversations. Default false. */
  assistantOnlyLoss: z.boolean().default(false),
  /** Row -> text, for rows of a format of your own. Default: rows of the known formats. */
  formattingFunc: z
    .custom<(row: never) => string>((value) => typeof value === 'function', 'expected a function')
    .optional(),
  /**
   * Several rows in each one of `maxLength` tokens, apart for attention (`packExamples`). Default
   * false.
   */
  packing: z.boolean().default(false),
  /** How: 'bfd', 'bfd_split' or 'wrapped', as in TRL. Default 'bfd'. */
  packingStrategy: z.enum(PACKING_STRATEGIES).default('bfd'),
  /** Pack evaluation rows too; null: as `packing`. Default null. */
  evalPacking: z.boolean().nullable().default(null),
  /** What is shown and refused before the first step. Default 'on'. */
  preflight: preflightSetting.default('on'),
};
const causalLmRowOptions = z.strictObject(causalLmRowShape);

/** Options of {@link causalLmRows}. */
export type CausalLmRowOptions = OptionsInput<typeof causalLmRowShape>;

/**
 * Rules for rows of text, of prompt and completion, or of conversations: their tokens, and which of
 * these are learned, as TRL tokenises them for SFT. Objectives with other losses share these rules.
 * One with several texts a row calls `encode` for each: `{ prompt, completion: row.chosen }`.
 *
 * @throws UNKNOWN_OPTION, INVALID_OPTION
 */
export function causalLmRows(options: CausalLmRowOptions): RowRules<TokenExample> {
  const checked = parseOptions(causalLmRowOptions, options, { where: 'causalLmRows' });
  const { maxLength, completionOnlyLoss, assistantOnlyLoss, formattingFunc } = checked;
  const { packing, packingStrategy, preflight: setting } = checked;
  const evalPacking = checked.evalPacking ?? packing;
  const isPacked = (use: RowUse) => (use === 'training' ? packing : evalPacking);
  return {
    fingerprint: {
      maxLength,
      completionOnlyLoss,
      assistantOnlyLoss,
      packing: packing ? `${packingStrategy} of ${maxLength} tokens` : 'none',
      formattingFunc: formattingFunc !== undefined,
    },
    isPreflightOn: setting !== 'off',
    preflight: (model, tokenizer, use, title) =>
      new Preflight({
        ...(typeof setting === 'object' ? setting : {}),
        use,
        title,
        tokenizer,
        eosTokenIds: model.config.eosTokenId,
        maxLength,
      }),
    encode(row, { model, tokenizer, origin, use = 'training', preflight }) {
      // These two keep what is longer than a row: in the next ones.
      const isCut = !isPacked(use) || packingStrategy === 'bfd';
      const tokenized = tokenizeSft(row, origin, {
        tokenizer,
        maxLength: isCut ? maxLength : Number.POSITIVE_INFINITY,
        vocabSize: model.config.vocabSize,
        completionOnlyLoss,
        assistantOnlyLoss,
        formattingFunc,
      });
      preflight?.add(origin, tokenized);
      const { example, truncated, boundaryMerged } = tokenized;
      const notes: string[] = [];
      if (truncated) notes.push(`cut off after ${maxLength} tokens`);
      if (boundaryMerged)
        notes.push(
          'the end of the prompt merges with the completion into other tokens, which are learned with it',
        );
      return { example, notes };
    },
    isPacked,
    // A piece of a long prompt may fill a row by itself: nothing to learn from.
    pack: (examples) => packExamples(examples, maxLength, packingStrategy).filter(isLearned),
  };
}

/** Whether a label is there beside the first of each example, which is never learned. */
function isLearned({ labels, seqLengths = [labels.length] }: TokenExample): boolean {
  let start = 0;
  for (const length of seqLengths) {
    for (let t = start + 1; t < start + length; t++) if (labels[t] !== IGNORE_INDEX) return true;
    start += length;
  }
  return false;
}
