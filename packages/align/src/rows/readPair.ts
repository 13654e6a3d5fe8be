import { columnsOf } from './readAnswers.js';
import type { RowFormat } from './rowErrors.js';

/** The answers of a preference pair, the better one first. */
export const pairNames = ['chosen', 'rejected'] as const;

/** How preference pairs are spelt. */
export const pairFormat: RowFormat = {
  what: 'a preference pair',
  accepted:
    '{ prompt, chosen, rejected } as texts or as lists of messages; { chosen, rejected } that share ' +
    'their beginning; { prompt_ids, chosen_ids, rejected_ids }; each with an optional margin',
  columns: [...columnsOf(pairNames), 'margin'],
};
