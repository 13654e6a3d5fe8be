import { formatOrigin } from '../contract/dataRow.js';
import type { StageContext } from '../contract/dataStage.js';
import type { ClusterFacts, Clusters } from './clusters.js';
import { type Banding, recallAt } from './minHash.js';
import type { NearIndex } from './nearIndex.js';
import type { SeenRows } from './seenRows.js';
import type { SemanticJudge } from './semanticJudge.js';
import type { DuplicateReason } from './verdicts.js';

/** How candidates were found, and what was left out of the search. */
type Search = Readonly<Banding> & {
  /** Rows that have too much in common with too many others to be compared with all of them. */
  readonly crowded: number;
};

/** What the report of `dedupe` has beside its counts. */
export type DedupeReport = {
  /** Rows that went, by kind, and how many of them are copies of `against` or of another part. */
  readonly duplicates: {
    readonly exact: number;
    readonly near: number;
    readonly semantic: number;
    readonly ofOtherSet: number;
    readonly acrossSplits: number;
  };
  readonly clusters: ClusterFacts;
  /** Absent: near-duplicates were not looked for. */
  readonly near?: Search & {
    /** Share of the pairs right at the threshold that are found: 1 - (1 - t^rows)^bands. */
    readonly recall: number;
    /** Rows of too many shingles, which stay. */
    readonly tooLong: number;
  };
  /** Absent: all vectors were compared, without an index. */
  readonly semantic?: Search;
};

/** Clusters that a warning is about: so many rows, and such a share of all. */
const LARGE = 1000;
const LARGE_SHARE = 0.1;

/** Rows from which on it is odd that most of them mean the same. */
const MANY = 20;

/** Share of the pairs at the threshold below which a warning says so. */
const RECALL = 0.9;

/** What is told of one run. */
export class DedupeFacts {
  /** Rows without text, each once. */
  withoutText = 0;
  readonly #counts: Record<DuplicateReason, number> = {
    duplicate: 0,
    'near-duplicate': 0,
    'semantic-duplicate': 0,
  };
  #ofOtherSet = 0;
  #acrossSplits = 0;

  count(
    reason: DuplicateReason,
    { isOther, isAcross }: { readonly isOther: boolean; readonly isAcross: boolean },
  ): void {
    this.#counts[reason]++;
    if (isOther) this.#ofOtherSet++;
    if (isAcross) this.#acrossSplits++;
  }

  report(
    context: StageContext,
    clusters: Clusters,
    rows: SeenRows,
    { near, semantic }: { near: NearIndex | null; semantic: SemanticJudge | null },
  ): void {
    context.fact('duplicates', {
      exact: this.#counts.duplicate,
      near: this.#counts['near-duplicate'],
      semantic: this.#counts['semantic-duplicate'],
      ofOtherSet: this.#ofOtherSet,
      acrossSplits: this.#acrossSplits,
    } satisfies DedupeReport['duplicates']);
    context.fact('clusters', clusters.facts(rows));
    if (this.withoutText > 0)
      context.warn(`${this.withoutText} rows have no text to compare; they stay.`);
    if (near) {
      const { banding, crowded, tooLong } = near;
      const recall = recallAt(near.threshold, banding);
      const found: DedupeReport['near'] = { ...banding, recall, crowded, tooLong };
      context.fact('near', found);
      if (recall < RECALL)
        context.warn(
          `bands x rows of ${banding.bands} x ${banding.rows} find ${(100 * recall).toFixed(1)} % of the near-duplicates right at the threshold ${near.threshold}; more permutations find more.`,
        );
      if (crowded > 0) context.warn(crowdedWarning(crowded, 'near-duplicates'));
      if (tooLong > 0)
        context.warn(
          `${tooLong} rows are too long to look for near-duplicates of them; they stay.`,
        );
    }
    if (semantic?.index) {
      const { banding, crowded } = semantic.index;
      const found: DedupeReport['semantic'] = { ...banding, crowded };
      context.fact('semantic', found);
      if (crowded > 0) context.warn(crowdedWarning(crowded, 'rows of the same meaning'));
    }
    const alike = this.#counts['semantic-duplicate'];
    if (semantic && rows.length >= MANY && alike > rows.length / 2)
      context.warn(
        `${alike} of ${rows.length} rows mean the same as another, says ${JSON.stringify(semantic.embedder.name)} at the threshold ${semantic.plan.threshold}. Vectors of models that were not trained for it lie near one another whatever the texts say: raise the threshold, or take an embedding model.`,
      );
    const { kept, size } = clusters.largest();
    if (size >= LARGE && size > LARGE_SHARE * rows.length)
      context.warn(
        `${size} rows of ${rows.length} are copies of ${formatOrigin(rows.originOf(kept))}: look whether that is meant.`,
      );
  }
}

const crowdedWarning = (rows: number, what: string): string =>
  `${rows} ${rows === 1 ? 'row has' : 'rows have'} so much in common with so many others that not all of them were compared; ${what} among them may be left.`;
