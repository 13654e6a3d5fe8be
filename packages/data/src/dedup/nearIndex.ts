import { BandTable } from './bandTable.js';
import { IntList } from './growing.js';
import { type Banding, bandingFor, MinHash } from './minHash.js';
import { ShingleSet } from './shingleSet.js';
import type { Piece, TextStore } from './textStore.js';
import { countTokens, Tokens } from './tokens.js';

/** What a text is cut into. 'auto' is decided text by text. */
export type ShingleUnit = 'auto' | 'word' | 'character';

export interface NearSettings {
  readonly threshold: number;
  readonly unit: ShingleUnit;
  /** Tokens of a shingle. */
  readonly size: number;
  readonly permutations: number;
  /** null: {@link bandingFor} decides. */
  readonly banding: Banding | null;
  readonly seed: number;
}

/** Texts of fewer words are compared by characters: one word changes most of their shingles. */
const FEW_WORDS = 30;
/** Texts with more characters a word have no spaces (Chinese, Thai), or are no prose. */
const LONG_WORDS = 12;
/** Texts with more tokens are not compared: their sets alone would take hundreds of megabytes. */
const MOST_TOKENS = 2 ** 22;
/** Texts of one bucket that a text is compared with: boilerplate must not cost N^2. */
const MOST_IN_BUCKET = 100;

/** A text as one of the two spaces sees it: cut into words, or into characters. */
interface Space {
  readonly isCharacters: boolean;
  /** Keeps words and characters out of each other's buckets. */
  readonly salt: number;
  readonly set: ShingleSet;
  readonly keys: Int32Array;
  read(tokens: Tokens, text: Piece): void;
}

/**
 * Finds texts that are nearly equal. MinHash with locality-sensitive hashing names candidates; the
 * Jaccard similarity of the sets of shingles, counted in full, decides.
 *
 * `prepare` a text, `search` for those like it among the texts that were added, then `add` it or
 * not.
 */
export class NearIndex {
  readonly banding: Banding;
  readonly threshold: number;
  /** Searches that met more texts in a bucket than are compared. */
  crowded = 0;
  /** Texts that were too long to compare. */
  tooLong = 0;

  readonly #hasher: MinHash;
  readonly #word: Space;
  readonly #character: Space;
  readonly #tokens = new Tokens();
  /** Texts of at least so many words have no partner that is compared by characters. */
  readonly #manyWords: number;
  readonly #table = new BandTable();

  // An entry is a text in one space.
  readonly #row = new IntList();
  readonly #text = new IntList();
  readonly #size = new IntList();
  readonly #isShort = new IntList();
  /** The last search that met it. */
  readonly #met = new IntList();
  #searches = 0;

  /** What was prepared. */
  #spaces: readonly Space[] = [];
  #short = false;

  constructor(
    private readonly settings: NearSettings,
    private readonly texts: TextStore,
  ) {
    const { threshold, permutations, size, seed } = settings;
    this.threshold = threshold;
    this.banding = settings.banding ?? bandingFor(threshold, permutations);
    this.#hasher = new MinHash(this.banding, seed);
    this.#manyWords = Math.ceil((1.2 * FEW_WORDS) / threshold);
    const space = (isCharacters: boolean): Space => ({
      isCharacters,
      salt: isCharacters ? 0x5bd1e995 : 0,
      set: new ShingleSet(size),
      keys: new Int32Array(this.banding.bands),
      read: (tokens, text) => (isCharacters ? tokens.readCharacters(text) : tokens.readWords(text)),
    });
    this.#word = space(false);
    this.#character = space(true);
  }

  /** Makes a text the one that is searched for and added. */
  prepare(text: Piece): void {
    const { words, characters } = countTokens(text);
    this.#spaces = this.#spacesOf(words, characters);
    for (const { set, salt, keys, read } of this.#spaces) {
      read(this.#tokens, text);
      set.fill(this.#tokens);
      this.#hasher.keysOf(set.hashes, set.size, keys);
      for (let band = 0; band < keys.length; band++) keys[band]! ^= salt;
    }
  }

  /**
   * Texts near the border between words and characters are in both spaces, so that a text on the
   * other side finds them. Two texts are compared by characters if one of them is short.
   */
  #spacesOf(words: number, characters: number): readonly Space[] {
    const { unit } = this.settings;
    this.#short =
      unit === 'character' ||
      (unit === 'auto' && (words < FEW_WORDS || characters > LONG_WORDS * words));
    const hasShortPartners =
      unit === 'auto' && (words < this.#manyWords || characters > 0.75 * LONG_WORDS * words);
    if ((this.#short ? characters : words) > MOST_TOKENS) {
      this.tooLong++;
      return [];
    }
    if (this.#short) return [this.#character];
    return hasShortPartners && characters <= MOST_TOKENS
      ? [this.#word, this.#character]
      : [this.#word];
  }

  /**
   * Calls `onMatch` with texts whose similarity to the prepared one reaches the threshold, each
   * once, until it returns false. With the rows that they were added with.
   *
   * @param isKnown rows that need not be compared
   */
  search(
    onMatch: (row: number, jaccard: number) => boolean,
    isKnown: (row: number) => boolean = () => false,
  ): void {
    const search = ++this.#searches;
    const { bands } = this.banding;
    let isCrowded = false;
    for (const space of this.#spaces)
      for (let band = 0; band < bands; band++) {
        const key = space.keys[band]!;
        let met = 0;
        for (let next = this.#table.first(key); next !== 0; ) {
          if (++met > MOST_IN_BUCKET) {
            isCrowded = true;
            break;
          }
          const entry = Math.floor((next - 1) / bands);
          if (this.#met.values[entry] !== search) {
            this.#met.values[entry] = search;
            const row = this.#row.values[entry]!;
            const jaccard = isKnown(row) ? 0 : this.#similarity(space, entry);
            if (jaccard >= this.settings.threshold && !onMatch(row, jaccard)) return;
          }
          next = this.#table.before(next - 1, key);
        }
      }
    if (isCrowded) this.crowded++;
  }

  /** 0 where it cannot reach the threshold. */
  #similarity({ isCharacters, set, read }: Space, entry: number): number {
    if (isCharacters && !this.#short && this.#isShort.values[entry] === 0) return 0;
    const size = this.#size.values[entry]!;
    if (Math.min(size, set.size) / Math.max(size, set.size) < this.settings.threshold) return 0;
    read(this.#tokens, this.texts.at(this.#text.values[entry]!));
    const shared = set.countShared(this.#tokens);
    return shared / (size + set.size - shared);
  }

  /** @param text where the text store has it */
  add(row: number, text: number): void {
    for (const { set, keys } of this.#spaces) {
      this.#row.push(row);
      this.#text.push(text);
      this.#size.push(set.size);
      this.#isShort.push(this.#short ? 1 : 0);
      this.#met.push(0);
      for (let band = 0; band < keys.length; band++) this.#table.add(keys[band]!);
    }
  }
}
