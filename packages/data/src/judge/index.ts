export { type JudgeReport, type JudgeRow, judge } from './judge.js';
export type { JudgeOptions } from './judgeOptions.js';
export type {
  JudgeAgreement,
  PairReport,
  PositionReport,
  RowVerdict,
} from './pairReport.js';
export type { ScoreDifference, ScoreReport } from './scoreReport.js';
export type { Estimate } from './statistics.js';
