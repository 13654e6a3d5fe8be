import { type AccuracyOptions, accuracy } from './accuracy/accuracy.js';
import { type CompletenessOptions, completeness } from './completeness/completeness.js';
import { type ConsistencyOptions, consistency } from './consistency/consistency.js';
import { type DiversityOptions, diversity } from './diversity/diversity.js';
import { type HarmlessnessOptions, harmlessness } from './harmlessness/harmlessness.js';
import { type LanguageOptions, language } from './language/languageCheck.js';
import type { QualityCheck } from './qualityCheck.js';

/** The options of each check of this package. */
export interface BuiltinChecks {
  readonly accuracy: AccuracyOptions;
  readonly completeness: CompletenessOptions;
  readonly consistency: ConsistencyOptions;
  readonly diversity: DiversityOptions;
  readonly harmlessness: HarmlessnessOptions;
  readonly language: LanguageOptions;
}

/** The checks of this package. */
export const builtinChecks: readonly QualityCheck[] = [
  accuracy,
  completeness,
  consistency,
  diversity,
  harmlessness,
  language,
];
