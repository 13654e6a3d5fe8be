/** Why a row goes, as reports count it. */
export type DuplicateReason = 'duplicate' | 'near-duplicate' | 'semantic-duplicate';

/** What was found about a row that goes. */
export interface Verdict {
  readonly reason: DuplicateReason;
  /** Number of the row that stays. */
  readonly of: number;
  /**
   * Jaccard or cosine similarity to it; 1 for equal texts. NaN: the two are linked by others
   * between them.
   */
  readonly similarity: number;
}

const REASONS: readonly DuplicateReason[] = ['duplicate', 'near-duplicate', 'semantic-duplicate'];

/** Verdicts by the place of a row, in 9 bytes each. */
export class VerdictList {
  readonly #reason: Uint8Array;
  readonly #of: Int32Array;
  readonly #similarity: Float32Array;

  constructor(length: number) {
    this.#reason = new Uint8Array(length);
    this.#of = new Int32Array(length);
    this.#similarity = new Float32Array(length);
  }

  set(index: number, { reason, of, similarity }: Verdict): void {
    this.#reason[index] = 1 + REASONS.indexOf(reason);
    this.#of[index] = of;
    this.#similarity[index] = similarity;
  }

  has(index: number): boolean {
    return this.#reason[index] !== 0;
  }

  at(index: number): Verdict | null {
    const reason = this.#reason[index]!;
    if (reason === 0) return null;
    return {
      reason: REASONS[reason - 1]!,
      of: this.#of[index]!,
      similarity: this.#similarity[index]!,
    };
  }
}
