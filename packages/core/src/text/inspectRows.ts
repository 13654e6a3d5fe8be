import type { Dataset } from '../dataset/dataset.js';
import { Preflight, type PreflightContext } from './preflight/preflight.js';
import type { PreflightReport } from './preflight/preflightReport.js';
import { type TokenizeOptions, tokenizeSft } from './tokenizeRow.js';

/** Options of {@link inspectRows}. */
export type InspectOptions = Omit<PreflightContext, 'tokenizer'> & TokenizeOptions;

/**
 * What supervised fine-tuning would train on, without a model or a device.
 *
 * @throws what tokenising a row throws: ROW_FORMAT, VOCAB_MISMATCH, NO_COMPLETION, TEMPLATE_PREFIX,
 *   ...
 */
export function inspectRows(rows: Dataset<unknown>, options: InspectOptions): PreflightReport {
  const preflight = new Preflight(options);
  for (let i = 0; i < rows.length; i++) {
    const origin = rows.origin(i);
    preflight.add(origin, tokenizeSft(rows.at(i), origin, options));
  }
  return preflight.report();
}
