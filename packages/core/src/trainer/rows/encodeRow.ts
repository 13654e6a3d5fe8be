import type { LanguageModel } from '../../models/languageModel.js';
import type { Preflight } from '../../text/preflight/preflight.js';
import type { TextTokenizer } from '../../text/tokenizeRow.js';
import type { RowRules, RowUse } from '../../training/rowRules.js';
import { AttuneError } from '../../util/errors.js';
import type { Logger } from '../../util/logger.js';
import type { RowLengths } from './rowLengths.js';

export interface PrepareContext {
  readonly use: RowUse;
  /** What messages call the rows: "training rows", `evaluation rows "math"`. */
  readonly title: string;
  readonly model: LanguageModel;
  readonly tokenizer: TextTokenizer | null;
  readonly logger: Logger;
  /** Sees what rows become. */
  readonly preflight?: Preflight | null;
  /** Keeps the lengths that rows bring with them. */
  readonly lengths?: RowLengths | null;
}

/** One row; null where nothing is to be learned. */
export function encodeRow<Example>(
  row: unknown,
  origin: string,
  rules: RowRules<Example>,
  { model, tokenizer, use, preflight = null }: PrepareContext,
  note: (text: string, origin: string) => void,
): Example | null {
  if (!rules.encode) return row as Example;
  const { example, notes = [] } = rules.encode(row, {
    model,
    tokenizer,
    origin,
    use,
    preflight,
  });
  for (const text of notes) note(text, origin);
  if (example === null) note('nothing to learn from: left out', origin);
  return example;
}

export const isPacked = <Example>(rules: RowRules<Example>, use: RowUse): boolean =>
  rules.pack !== undefined && (rules.isPacked?.(use) ?? true);

export const noRows = (message: string, rowsRead: number): AttuneError =>
  new AttuneError('NO_ROWS', message, {
    remedy:
      rowsRead === 0
        ? 'Give a data set with rows.'
        : 'Raise maxLength (prompts alone fill it), or look at the labels of the rows.',
  });
