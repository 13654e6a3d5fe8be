import { Components } from '../dedup/components.js';
import { NearIndex } from '../dedup/nearIndex.js';
import { normalizeText } from '../dedup/normalizeText.js';
import { TextBytes, TextStore } from '../dedup/textStore.js';
import { type Hash64, HashNumbers } from './hash64.js';

/** Groups as they are split: those that are joined are one. */
export interface SplitUnits {
  readonly units: HashNumbers;
  /** The unit of each group. */
  readonly unitOf: Uint32Array;
  /** A group of each unit. */
  readonly groupOf: Uint32Array;
}

const ALL_IGNORED = { ignoreCase: true, ignoreSpace: true, ignoreWidth: true };

/**
 * Joins groups that have nearly equal rows, as `dedupe` finds them: MinHash, then exact Jaccard.
 */
export class NearGroups {
  readonly #components = new Components();
  readonly #texts = new TextStore();
  readonly #bytes = new TextBytes();
  readonly #near: NearIndex;

  constructor(threshold: number, seed: number) {
    const settings = { unit: 'auto', size: 5, permutations: 128, banding: null } as const;
    this.#near = new NearIndex({ threshold, ...settings, seed }, this.#texts);
  }

  add(group: number, text: string): void {
    const components = this.#components;
    components.reach(group);
    if (text === '') return;
    const piece = this.#bytes.of(normalizeText(text, ALL_IGNORED));
    this.#near.prepare(piece);
    this.#near.search(
      (other) => {
        components.join(group, other);
        return true;
      },
      (other) => components.rootOf(other) === components.rootOf(group),
    );
    this.#near.add(group, this.#texts.add(piece));
  }

  /** The smallest hash of its groups stands for a unit, so that the order of rows plays no part. */
  units(groups: HashNumbers): SplitUnits {
    const least = new Map<number, number>();
    for (let group = 0; group < groups.length; group++) {
      const root = this.#components.rootOf(group);
      const best = least.get(root);
      if (best === undefined || isBelow(groups.at(group), groups.at(best))) least.set(root, group);
    }
    const units = new HashNumbers();
    const unitOf = new Uint32Array(groups.length);
    const groupOf = new Uint32Array(least.size);
    for (let group = 0; group < groups.length; group++) {
      const first = least.get(this.#components.rootOf(group))!;
      unitOf[group] = units.add(groups.at(first));
      groupOf[unitOf[group]!] = first;
    }
    return { units, unitOf, groupOf };
  }
}

const isBelow = ([highA, lowA]: Hash64, [highB, lowB]: Hash64): boolean =>
  highA < highB || (highA === highB && lowA < lowB);
