import { Components } from './components.js';
import { ExactIndex } from './exactIndex.js';
import { IntList } from './growing.js';
import { NearIndex } from './nearIndex.js';
import { type Normalization, normalizeText, sameNormalization } from './normalizeText.js';
import type { NearPlan } from './options.js';
import { TextBytes, TextStore } from './textStore.js';
import type { Verdict } from './verdicts.js';

/** Judges rows by their texts, one after the other: which are copies of one that stays. */
export class TextJudge implements Disposable {
  readonly near: NearIndex | null;
  readonly #exact = new ExactIndex();
  readonly #texts = new TextStore();
  readonly #bytes = new TextBytes();
  readonly #areSame: boolean;
  readonly #components: ComponentJudge | null;

  constructor(
    private readonly exactRules: Normalization | null,
    private readonly nearPlan: NearPlan | null,
    seed: number,
  ) {
    const newIndex = () => new NearIndex({ ...nearPlan!, ...nearPlan!.shingle, seed }, this.#texts);
    this.near = nearPlan && newIndex();
    this.#components =
      nearPlan?.grouping === 'components'
        ? new ComponentJudge(nearPlan.maxComponent, this.#texts, newIndex)
        : null;
    this.#areSame =
      exactRules !== null && nearPlan !== null && sameNormalization(exactRules, nearPlan);
  }

  /**
   * Whether a row that came before is equal to it, or nearly.
   *
   * @returns null for a row that stays: later ones are compared with it. With components it says so
   *   of all rows that are not equal to another, until `settle` knows better
   */
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
    if (this.#components) {
      this.#components.link(row, near, this.#texts.add(piece));
      return null;
    }
    const verdict = firstMatch(near);
    if (verdict === null) near.add(row, this.#texts.add(piece));
    return verdict;
  }

  /** The last word on a row, once all are linked; rows come in the order of `judge`. */
  settle(row: number): Verdict | null {
    return this.#components?.settle(row) ?? null;
  }

  [Symbol.dispose](): void {
    this.#texts[Symbol.dispose]();
  }
}

function firstMatch(near: NearIndex): Verdict | null {
  let verdict: Verdict | null = null;
  near.search((of, similarity) => {
    verdict = { reason: 'near-duplicate', of, similarity };
    return false;
  });
  return verdict;
}

/** Leaves one row of each component; those that are too large it thins as 'greedy' does. */
class ComponentJudge {
  readonly #components = new Components();
  /** 1 + the text of a row; 0: it was not linked. */
  readonly #text = new IntList();
  /** 1 + the row that stays, by the root of its component. */
  readonly #kept = new IntList();
  #thinning: NearIndex | null = null;

  constructor(
    private readonly maxComponent: number,
    private readonly texts: TextStore,
    private readonly newIndex: () => NearIndex,
  ) {}

  link(row: number, near: NearIndex, text: number): void {
    const components = this.#components;
    components.reach(row);
    while (this.#text.length <= row) {
      this.#text.push(0);
      this.#kept.push(0);
    }
    this.#text.values[row] = text + 1;
    near.search(
      (other) => {
        components.join(row, other);
        return true;
      },
      (other) => components.rootOf(other) === components.rootOf(row),
    );
    near.add(row, text);
  }

  settle(row: number): Verdict | null {
    const text = (this.#text.values[row] ?? 0) - 1;
    if (row >= this.#text.length || text < 0) return null;
    if (this.#components.sizeOf(row) > this.maxComponent) return this.#thin(row, text);
    const kept = this.#kept.values;
    const root = this.#components.rootOf(row);
    if (kept[root] !== 0)
      return { reason: 'near-duplicate', of: kept[root]! - 1, similarity: Number.NaN };
    kept[root] = row + 1;
    return null;
  }

  #thin(row: number, text: number): Verdict | null {
    this.#thinning ??= this.newIndex();
    this.#thinning.prepare(this.texts.at(text));
    const verdict = firstMatch(this.#thinning);
    if (verdict === null) this.#thinning.add(row, text);
    return verdict;
  }
}
