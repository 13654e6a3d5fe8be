import type { Finding } from './askJudge.js';
import type { PairVerdict } from './readVerdict.js';
import {
  bootstrapMean,
  cohenKappa,
  type Estimate,
  fleissKappa,
  signTest,
  wilson,
} from './statistics.js';

/** What all judges said about one row: for each the answers in their order, and swapped. */
export interface PairsOfRow {
  readonly names: readonly [string, string];
  readonly judgings: readonly (readonly [Finding<PairVerdict>, Finding<PairVerdict> | null])[];
}

/** What became of a row: the name of the better answer, or why there is none. */
export type RowVerdict = { readonly winner: string } | { readonly winner: null; readonly why: Why };

/** "disagreement": the winner changed with the order, and such rows are left out. */
type Why = 'tie' | 'unparsed' | 'disagreement';

/** What pairwise judging found. Rates count a tie as half a win. */
export interface PairReport {
  readonly mode: 'pairwise';
  readonly names: readonly [string, string];
  readonly rows: number;
  /** Rows with a verdict: a winner or a tie. */
  readonly judged: number;
  /** Rows for which no judge gave words that could be read. */
  readonly unparsed: number;
  /** Rows that are left out because the winner changed with the order. */
  readonly leftOut: number;
  readonly wins: Readonly<Record<string, number>>;
  readonly ties: number;
  /** (wins + ties / 2) / judged, with a bootstrap interval over rows. null: nothing was judged. */
  readonly winRates: Readonly<Record<string, Estimate | null>>;
  /** wins / (wins of both), with Wilson's interval. null: ties alone. */
  readonly decidedRates: Readonly<Record<string, Estimate | null>>;
  /** The exact two-sided sign test of wins against losses. */
  readonly pValue: number;
  /** What the order of answers did; null without `swap`. */
  readonly position: PositionReport | null;
  /** How far the judges agree about rows that all of them judged; null for a single judge. */
  readonly agreement: JudgeAgreement | null;
  /** Row by row, in their order. */
  readonly verdicts: readonly RowVerdict[];
}

/** What the order of answers did to the verdicts. */
export interface PositionReport {
  /** Share of decided comparisons that the answer in the first place won; 0.5 without bias. */
  readonly firstShare: Estimate | null;
  /** Share of pairs with the same verdict in both orders. */
  readonly consistency: Estimate | null;
}

/** How far several judges agree. */
export interface JudgeAgreement {
  readonly rows: number;
  /** Cohen's kappa for two judges, Fleiss' for more; null where it has no value. */
  readonly kappa: number | null;
}

interface ReportOptions {
  readonly onDisagreement: 'tie' | 'leave-out';
  readonly confidence: number;
  readonly seed: number;
}

/** What one judge found: 0 or 1, the better answer. */
type Single = 0 | 1 | Why;

const SWAPPED = { A: 'B', B: 'A', tie: 'tie' } as const;

/** Both orders of one judge as one verdict. */
function singleOf(
  [straight, swapped]: PairsOfRow['judgings'][number],
  onDisagreement: ReportOptions['onDisagreement'],
): Single {
  const one = straight.verdict;
  // One that was not asked says what the other did.
  const other = swapped === null ? one : swapped.verdict && SWAPPED[swapped.verdict];
  if (one === null || other === null) return 'unparsed';
  if (one === other) return one === 'tie' ? 'tie' : one === 'A' ? 0 : 1;
  if (one !== 'tie' && other !== 'tie') return onDisagreement === 'tie' ? 'tie' : 'disagreement';
  // A winner in one order and a tie in the other is no win, as in MT-Bench.
  return 'tie';
}

/** The verdict of more than half of the judges that have one; else a tie. */
function togetherOf(singles: readonly Single[]): Single {
  const counted = singles.filter((single) => single !== 'unparsed' && single !== 'disagreement');
  if (counted.length === 0) return singles.includes('disagreement') ? 'disagreement' : 'unparsed';
  const winner = ([0, 1] as const).find(
    (name) => counted.filter((single) => single === name).length > counted.length / 2,
  );
  return winner ?? 'tie';
}

export function pairReport(results: readonly PairsOfRow[], options: ReportOptions): PairReport {
  const { onDisagreement, confidence, seed } = options;
  const names = results[0]?.names ?? ['', ''];
  const singles = results.map(({ judgings }) =>
    judgings.map((judging) => singleOf(judging, onDisagreement)),
  );
  const rows = singles.map(togetherOf);
  const count = (single: Single) => rows.filter((row) => row === single).length;
  const [wins, losses, ties] = [count(0), count(1), count('tie')];
  const judged = rows.filter((row) => row === 0 || row === 1 || row === 'tie');
  const rate = (side: 0 | 1) =>
    bootstrapMean(
      judged.map((row) => (row === 'tie' ? 0.5 : Number(row === side))),
      { confidence, seed },
    );
  const byName = <T>(of: (side: 0 | 1) => T) => ({ [names[0]]: of(0), [names[1]]: of(1) });
  return {
    mode: 'pairwise',
    names,
    rows: results.length,
    judged: judged.length,
    unparsed: count('unparsed'),
    leftOut: count('disagreement'),
    wins: byName((side) => (side === 0 ? wins : losses)),
    ties,
    winRates: byName(rate),
    decidedRates: byName((side) => wilson(side === 0 ? wins : losses, wins + losses, confidence)),
    pValue: signTest(wins, losses),
    position: positionOf(results, confidence),
    agreement: agreementOf(singles),
    verdicts: rows.map((row) =>
      row === 0 || row === 1 ? { winner: names[row] } : { winner: null, why: row },
    ),
  };
}

function positionOf(results: readonly PairsOfRow[], confidence: number): PositionReport | null {
  const both = results.flatMap(({ judgings }) =>
    judgings.flatMap(([straight, swapped]) => (swapped ? [[straight, swapped] as const] : [])),
  );
  if (both.length === 0) return null;
  const said = both.flat().map(({ verdict }) => verdict);
  const first = said.filter((verdict) => verdict === 'A').length;
  const second = said.filter((verdict) => verdict === 'B').length;
  const read = both.flatMap(([{ verdict: one }, { verdict: other }]) =>
    one && other ? [[one, SWAPPED[other]] as const] : [],
  );
  const same = read.filter(([one, other]) => one === other).length;
  return {
    firstShare: wilson(first, first + second, confidence),
    consistency: wilson(same, read.length, confidence),
  };
}

function agreementOf(singles: readonly (readonly Single[])[]): JudgeAgreement | null {
  const judges = singles[0]?.length ?? 0;
  if (judges < 2) return null;
  const whole = singles.filter((row) => !row.includes('unparsed')).map((row) => row.map(String));
  return {
    rows: whole.length,
    kappa:
      judges === 2
        ? cohenKappa(
            whole.map(([one]) => one!),
            whole.map(([, other]) => other!),
          )
        : fleissKappa(whole),
  };
}
