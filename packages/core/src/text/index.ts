export * from './collator.js';
export { systemOf, withSystem } from './conversationColumns.js';
export * from './formats.js';
export * from './inspectRows.js';
export { otherModality } from './otherModalities.js';
export * from './pack.js';
export {
  PREFLIGHT_CHECKS,
  PREFLIGHT_MAX_ROWS,
  Preflight,
  type PreflightCheck,
  type PreflightContext,
  type PreflightOptions,
  type PreflightSetting,
  preflightSetting,
  type RowCondition,
} from './preflight/preflight.js';
export type { PreflightProblem, PreflightWarning } from './preflight/preflightProblems.js';
export {
  type FormatOptions,
  type PreflightFacts,
  PreflightReport,
  type PreviewedRow,
} from './preflight/preflightReport.js';
export type { Segment } from './preflight/preflightText.js';
export { type ChatRole, ROLE_NAMES, roleOf } from './roles.js';
export {
  checkTokenIds,
  numTokens,
  type TextTokenizer,
  type TokenizedRow,
  type TokenizeOptions,
  tokenizerMissing,
  tokenizeSft,
  withEos,
} from './tokenizeRow.js';
