import { ExactIndex } from './exactIndex.js';
import { NearIndex } from './nearIndex.js';
import { type Normalization, normalizeText, sameNormalization } from './normalizeText.js';
import type { NearPlan } from './options.js';
import { TextBytes, TextStore } from './textStore.js';

/** Why a row goes, as reports count it. */
export type DuplicateReason = 'duplicate' | 'near-duplicate' | 'semantic-duplicate';

/** What was found about a row that goes. */
export interface Verdict {
  readonly reason: DuplicateReason;
  /** Number of the row that stays. */
  readonly of: number;
  /** Jaccard or cosine similarity to it; 1 for equal texts. */
  readonly similarity: number;
}

/** Judges rows by their texts, one after the other: which are copies of one that stays. */
export class TextJudge {
  readonly near: NearIndex | null;
  readonly #exact = new ExactIndex();
  readonly #texts = new TextStore();
  readonly #bytes = new TextBytes();
  readonly #areSame: boolean;

  constructor(
    private readonly exactRules: Normalization | null,
    private readonly nearPlan: NearPlan | null,
    seed: number,
  ) {
    this.near = nearPlan && new NearIndex({ ...nearPlan, ...nearPlan.shingle, seed }, this.#texts);
    this.#areSame =
      exactRules !== null && nearPlan !== null && sameNormalization(exactRules, nearPlan);
  }

  /** @returns null for a row that stays: later ones are compared with it */
  judge(text: string, row: number): Verdict | null {
    const { exactRules, nearPlan, near } = this;
    let normal = '';
    if (exactRules) {
      normal = normalizeText(text, exactRules);
      const of = this.#exact.add(normal, row);
      if (of !== row) return { reason: 'duplicate', of, similarity: 1 };
    }
    if (near === null || nearPlan === null) return null;
    const piece = this.#bytes.of(this.#areSame ? normal : normalizeText(text, nearPlan));
    near.prepare(piece);
    let verdict: Verdict | null = null;
    near.search((of, similarity) => {
      verdict = { reason: 'near-duplicate', of, similarity };
      return false;
    });
    if (verdict === null) near.add(row, this.#texts.add(piece));
    return verdict;
  }
}
