/** Quality of rows: the stage, its checks, personal data. */
export type { AccuracyOptions, CodeLanguage } from './accuracy/accuracy.js';
export type { BuiltinChecks } from './builtinChecks.js';
export type { CompletenessOptions } from './completeness/completeness.js';
export type { ConsistencyOptions } from './consistency/consistency.js';
export type { DiversityOptions } from './diversity/diversity.js';
export type { TextClassifier } from './harmlessness/classifier.js';
export type { HarmlessnessOptions } from './harmlessness/harmlessness.js';
export { HARMFUL_WORDS } from './harmlessness/wordList.js';
export { type DetectedLanguage, detectLanguage } from './language/detectLanguage.js';
export type { LanguageOptions } from './language/languageCheck.js';
export { findPii, redactPii } from './pii/findPii.js';
export type { PiiFinding, PiiKind } from './pii/piiKinds.js';
export {
  defineQualityCheck,
  type QualityCheck,
  type QualityCheckDefinition,
  QualityChecks,
  type QualityContext,
  type QualityJudge,
  type Verdict,
} from './qualityCheck.js';
export type { QualityRow, RowReading, Speaker, Turn } from './qualityRow.js';
export {
  type CheckRule,
  type QualityCheckOption,
  type QualityOptions,
  quality,
} from './qualityStage.js';
