import { type AccuracyOptions, accuracy } from './accuracy/accuracy.js';
import { type CompletenessOptions, completeness } from './completeness/completeness.js';
import { type HarmlessnessOptions, harmlessness } from './harmlessness/harmlessness.js';
import type { QualityCheck } from './qualityCheck.js';

/** The options of each check of this package. */
export interface BuiltinChecks {
  readonly accuracy: AccuracyOptions;
  readonly completeness: CompletenessOptions;
  readonly harmlessness: HarmlessnessOptions;
}

/** The checks of this package. */
export const builtinChecks: readonly QualityCheck[] = [accuracy, completeness, harmlessness];
