import { consoleLogger, type Logger } from '@attune/core';
import { type RowSource, withoutNulls } from '@attune/core/text';
import { briefly, type OptionsInput, parseOptions, z } from '@attune/core/util';
import { mapBatches } from './rowBatches.js';
import { fieldsOf, missingColumn, type RowFormat, rowError } from './rowErrors.js';

const rankingShape = {
  /**
   * 'all': each answer with each worse one; 'best': the best ones with all that are worse. Default
   * 'all'.
   */
  pairs: z.enum(['all', 'best']).default('all'),
  /** Give each pair of scored answers the difference of their scores as `margin`. Default false. */
  margin: z.boolean().default(false),
  /** Is told how many answers were equally good. Default: the console. */
  logger: z.custom<Pick<Logger, 'info'>>().default(consoleLogger),
};
const rankingOptions = z.strictObject(rankingShape);

/** Options of {@link rankings}. */
export type RankingOptions = OptionsInput<typeof rankingShape>;

const format: RowFormat = {
  what: 'a ranking',
  accepted:
    '{ prompt, completions: [...], ranks: [...] } with 1 for the best one, or { ..., scores: [...] } with the ' +
    'largest for the best one',
  columns: ['prompt', 'completions', 'ranks', 'scores'],
};

/** Rows that are looked at between two words about ties. */
const BATCH = 1000;

/**
 * Rankings as preference pairs: of `{ prompt, completions, ranks }` or `{ ..., scores }` a row
 * `{ prompt, chosen, rejected }` for each two answers of which one is better, the best ones first.
 * Other columns stay with each pair. Equally good answers make no pair; they are counted and said.
 *
 * @throws UNKNOWN_OPTION, INVALID_OPTION, ROW_FORMAT
 */
export function rankings(rows: RowSource, options: RankingOptions = {}): RowSource {
  const { pairs, margin, logger } = parseOptions(rankingOptions, options, { where: 'rankings' });
  return mapBatches(rows, BATCH, (batch) => {
    let ties = 0;
    let first = '';
    const made = batch.flatMap(({ row, origin }) => {
      const read = readRanking(row, origin);
      const { list } = read;
      const found: { readonly row: unknown; readonly origin: string }[] = [];
      for (const [i, better] of list.entries()) {
        if (pairs === 'best' && better.value < list[0]!.value) break;
        for (const worse of list.slice(i + 1)) {
          if (better.value === worse.value) {
            if (ties++ === 0) first = origin;
            continue;
          }
          const pair = { ...read.others, chosen: better.answer, rejected: worse.answer };
          found.push({
            row: margin && read.isScored ? { ...pair, margin: better.value - worse.value } : pair,
            origin: `${origin} ${better.index} over ${worse.index}`,
          });
        }
      }
      return found;
    });
    if (ties > 0)
      logger.info(
        `rankings: ${ties} ${ties === 1 ? 'pair of answers is' : 'pairs of answers are'} equally good and left out (first: ${first})`,
      );
    return made;
  });
}

/** The answers of a row, the best one first; value: larger is better. */
function readRanking(row: unknown, origin: string) {
  const given = fieldsOf(row, origin, format);
  const { completions, ranks, scores, ...others } = withoutNulls(given);
  if (completions === undefined) throw missingColumn('completions', given, origin, format);
  const isScored = scores !== undefined;
  const values = scores ?? ranks;
  if (values === undefined)
    throw missingColumn('scores' in given ? 'scores' : 'ranks', given, origin, format);
  const column = isScored ? 'scores' : 'ranks';
  if (!Array.isArray(completions) || completions.length < 2)
    throw rowError(
      origin,
      `"completions" is to be a list of two answers or more; it is ${briefly(completions, 60)}.`,
      format,
    );
  if (!Array.isArray(values) || values.length !== completions.length)
    throw rowError(
      origin,
      `"${column}" is to be a list of ${completions.length} numbers, one for each completion; it is ${briefly(values, 60)}.`,
      format,
    );
  const wrong = values.findIndex((value) => !Number.isFinite(value));
  if (wrong >= 0)
    throw rowError(
      origin,
      `"${column}"[${wrong}] is to be a finite number; it is ${briefly(values[wrong], 60)}.`,
      format,
    );
  const list = completions.map((answer: unknown, index) => {
    const value = values[index] as number;
    return { answer, index, value: isScored ? value : -value };
  });
  // Stable: equally good ones stay in their order.
  list.sort((a, b) => b.value - a.value);
  return { list, others, isScored };
}
