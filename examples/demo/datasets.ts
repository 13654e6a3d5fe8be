import { drawDocument, type FunctionDocument, type Sample } from './compose.js';
import { ISSUES, type Issue } from './issues.js';
import type { Split } from './names.js';
import { type PreferenceRow, preferenceRow, type ReviewRow, reviewRow } from './review.js';
import { Rng } from './rng.js';

/** At most this many versions of one family: enough to contrast, too few to dominate. */
const ROWS_PER_DOCUMENT = 2;

/**
 * Draws families until `numRows` rows are full. It takes those versions of each family whose
 * classes have the fewest rows so far, which keeps the classes level without throwing a family
 * away.
 */
function* balancedSamples(
  rng: Rng,
  split: Split,
  numRows: number,
): Generator<{ document: FunctionDocument; sample: Sample }> {
  const counts = new Map<Issue, number>(ISSUES.map((issue) => [issue, 0]));
  const countOf = (sample: Sample): number => counts.get(sample.issue) ?? 0;
  const limit = Math.ceil(numRows / ISSUES.length);
  const seen = new Set<string>();
  for (let rows = 0; rows < numRows; ) {
    const document = drawDocument(rng, split);
    const wanted = rng
      .shuffle(document.samples)
      .filter((sample) => countOf(sample) < limit && !seen.has(sample.code))
      .sort((a, b) => countOf(a) - countOf(b))
      .slice(0, ROWS_PER_DOCUMENT);
    for (const sample of wanted) {
      if (rows === numRows || countOf(sample) >= limit) continue;
      counts.set(sample.issue, countOf(sample) + 1);
      seen.add(sample.code);
      rows++;
      yield { document, sample };
    }
  }
}

/** Shuffled, because a family's versions come one after the other out of the drawing. */
export function reviewRows(seed: number, split: Split, numRows: number): ReviewRow[] {
  const rng = new Rng(seed);
  const rows: ReviewRow[] = [];
  for (const { document, sample } of balancedSamples(rng, split, numRows)) {
    rows.push(reviewRow(rng, document, sample));
  }
  return rng.shuffle(rows);
}

export function preferenceRows(seed: number, split: Split, numRows: number): PreferenceRow[] {
  const rng = new Rng(seed);
  const rows: PreferenceRow[] = [];
  for (const { document, sample } of balancedSamples(rng, split, numRows)) {
    rows.push(preferenceRow(rng, document, sample));
  }
  return rng.shuffle(rows);
}
