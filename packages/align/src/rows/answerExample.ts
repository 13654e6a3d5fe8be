import { countLabels, IGNORE_INDEX, type TokenExample } from '@attune/core';
import type { TruncationMode } from './rowOptions.js';
import type { SplitSequence } from './splitAnswers.js';

/** A sequence as it is trained on: the prompt without labels. */
export interface CutSequence {
  readonly example: TokenExample;
  /** Tokens of the prompt that are left. */
  readonly promptLength: number;
  readonly isCut: boolean;
  /** Whether a label is left that something stands before. */
  readonly isScored: boolean;
}

/** At most `maxLength` tokens of a sequence, with labels on its answer. */
export function cutSequence(
  { ids, promptLength }: SplitSequence,
  maxLength: number,
  mode: TruncationMode,
): CutSequence {
  const surplus = Math.max(ids.length - maxLength, 0);
  const start = mode === 'keep_end' ? surplus : 0;
  const inputIds = Int32Array.from(ids.slice(start, start + maxLength));
  const left = Math.min(Math.max(promptLength - start, 0), inputIds.length);
  const labels = inputIds.map((id, i) => (i < left ? IGNORE_INDEX : id));
  return {
    example: { inputIds, labels },
    promptLength: left,
    isCut: surplus > 0,
    // The first token is never predicted.
    isScored: countLabels(labels.subarray(1)) > 0,
  };
}
