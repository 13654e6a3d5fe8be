import { formatOrigin } from '../contract/dataRow.js';
import type { StageContext } from '../contract/dataStage.js';
import type { Clusters } from './clusters.js';
import type { NearIndex } from './nearIndex.js';
import type { SeenRows } from './seenRows.js';
import type { SemanticJudge } from './semanticJudge.js';
import type { DuplicateReason } from './verdicts.js';

/** Clusters that a warning is about: so many rows, and such a share of all. */
const LARGE = 1000;
const LARGE_SHARE = 0.1;

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
    });
    context.fact('clusters', clusters.facts(rows));
    if (this.withoutText > 0)
      context.warn(`${this.withoutText} rows have no text to compare; they stay.`);
    if (near) {
      const { banding, crowded, tooLong } = near;
      context.fact('near', { ...banding, crowded, tooLong });
      if (crowded > 0) context.warn(crowdedWarning(crowded, 'near-duplicates'));
      if (tooLong > 0)
        context.warn(
          `${tooLong} rows are too long to look for near-duplicates of them; they stay.`,
        );
    }
    if (semantic?.index) {
      const { banding, crowded } = semantic.index;
      context.fact('semantic', { ...banding, crowded });
      if (crowded > 0) context.warn(crowdedWarning(crowded, 'rows of the same meaning'));
    }
    const { kept, size } = clusters.largest();
    if (size >= LARGE && size > LARGE_SHARE * rows.length)
      context.warn(
        `${size} rows of ${rows.length} are copies of ${formatOrigin(rows.originOf(kept))}: look whether that is meant.`,
      );
  }
}

const crowdedWarning = (rows: number, what: string): string =>
  `${rows} ${rows === 1 ? 'row has' : 'rows have'} so much in common with so many others that not all of them were compared; ${what} among them may be left.`;
