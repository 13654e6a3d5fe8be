import type { Finding } from './askJudge.js';
import { bootstrapMean, type Estimate, signTest } from './statistics.js';

/** What all judges said about one row: for each answer the finding of each judge. */
export interface ScoresOfRow {
  readonly names: readonly string[];
  readonly findings: readonly (readonly Finding<number>[])[];
}

/** How much better one set of answers is than another, on the rows where both have a score. */
export interface ScoreDifference {
  readonly from: string;
  readonly to: string;
  readonly rows: number;
  /** Mean of score(to) - score(from), with a bootstrap interval over rows. null: no rows. */
  readonly mean: Estimate | null;
  /** The exact two-sided sign test of rows that rose against rows that fell. */
  readonly pValue: number;
}

/** What judging from 1 to 10 found. */
export interface ScoreReport {
  readonly mode: 'score';
  readonly names: readonly string[];
  readonly rows: number;
  /** Answers without a score, by name: no judge gave words that could be read. */
  readonly unparsed: Readonly<Record<string, number>>;
  /** Mean scores, with bootstrap intervals over rows. null: no scores. */
  readonly means: Readonly<Record<string, Estimate | null>>;
  /** From each name to each later one. */
  readonly differences: readonly ScoreDifference[];
  /**
   * Mean of |score - score| over all pairs of judges and answers that both scored; null for a
   * single judge.
   */
  readonly judgeDistance: number | null;
  /** Row by row: the score of each name, the mean over judges; null: unparsed. */
  readonly scores: readonly Readonly<Record<string, number | null>>[];
}

export function scoreReport(
  results: readonly ScoresOfRow[],
  options: { readonly confidence: number; readonly seed: number },
): ScoreReport {
  const names = results[0]?.names ?? [];
  const scores = results.map(({ findings }) => findings.map(meanOf));
  const ofName = (i: number) => scores.map((row) => row[i]!);
  const isScore = (score: number | null): score is number => score !== null;
  const byName = <T>(of: (i: number) => T): Record<string, T> =>
    Object.fromEntries(names.map((name, i) => [name, of(i)]));
  const differences = names.flatMap((from, i) =>
    names.slice(i + 1).map((to, j): ScoreDifference => {
      const both = scores.flatMap((row) => {
        const [before, after] = [row[i]!, row[i + 1 + j]!];
        return before === null || after === null ? [] : [after - before];
      });
      const rose = both.filter((difference) => difference > 0).length;
      const fell = both.filter((difference) => difference < 0).length;
      return {
        from,
        to,
        rows: both.length,
        mean: bootstrapMean(both, options),
        pValue: signTest(rose, fell),
      };
    }),
  );
  return {
    mode: 'score',
    names,
    rows: results.length,
    unparsed: byName((i) => ofName(i).filter((score) => score === null).length),
    means: byName((i) => bootstrapMean(ofName(i).filter(isScore), options)),
    differences,
    judgeDistance: distanceOf(results),
    scores: scores.map((row) => Object.fromEntries(names.map((name, i) => [name, row[i]!]))),
  };
}

function meanOf(findings: readonly Finding<number>[]): number | null {
  const read = findings.flatMap(({ verdict }) => (verdict === null ? [] : [verdict]));
  return read.length === 0 ? null : read.reduce((sum, score) => sum + score, 0) / read.length;
}

function distanceOf(results: readonly ScoresOfRow[]): number | null {
  let sum = 0;
  let pairs = 0;
  for (const { findings } of results)
    for (const answer of findings)
      for (const [i, { verdict: one }] of answer.entries())
        for (const { verdict: other } of answer.slice(i + 1))
          if (one !== null && other !== null) {
            sum += Math.abs(one - other);
            pairs++;
          }
  return pairs === 0 ? null : sum / pairs;
}
