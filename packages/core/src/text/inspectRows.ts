import { z } from 'zod';
import type { Dataset } from '../dataset/dataset.js';
import { type OptionsInput, parseOptions } from '../util/options.js';
import { Preflight, type PreflightOptions, preflightOptions } from './preflight/preflight.js';
import type { PreflightReport } from './preflight/preflightReport.js';
import { type TokenizeOptions, tokenizeSft, tokenizeShape } from './tokenizeRow.js';

const inspectShape = {
  /** Where `generate` stops: eos_token_id of generation_config.json or config.json. */
  eosTokenIds: z.array(z.number()).readonly(),
  /**
   * Rows of an evaluation teach nothing: how they end is not looked at, and they are not shown.
   * Default 'training'.
   */
  use: z.enum(['training', 'evaluation']).default('training'),
  /** What the rows are called. Default "training rows". */
  title: z.string().default('training rows'),
};
const inspectOptions = z.strictObject({
  ...tokenizeShape,
  ...preflightOptions.shape,
  ...inspectShape,
});

/** Options of {@link inspectRows}. */
export type InspectOptions = TokenizeOptions & PreflightOptions & OptionsInput<typeof inspectShape>;

/**
 * What supervised fine-tuning would train on, without a model or a device.
 *
 * @throws UNKNOWN_OPTION, INVALID_OPTION, and what tokenising a row throws: ROW_FORMAT,
 *   VOCAB_MISMATCH, NO_COMPLETION, TEMPLATE_PREFIX, ...
 */
export function inspectRows(rows: Dataset<unknown>, options: InspectOptions): PreflightReport {
  const checked = parseOptions(inspectOptions, options, { where: 'inspectRows' });
  const { eosTokenIds, use, title, rows: shown, allow, ...tokenize } = checked;
  const { tokenizer, maxLength } = tokenize;
  const preflight = new Preflight({
    ...{ tokenizer, maxLength, eosTokenIds, use, title },
    ...{ rows: shown, allow },
  });
  for (let i = 0; i < rows.length; i++) {
    const origin = rows.origin(i);
    preflight.add(origin, tokenizeSft(rows.at(i), origin, tokenize));
  }
  return preflight.report();
}
