import { widthOf } from '../charSet.js';
import type { Fields } from '../fields.js';
import { show } from '../fields.js';
import { PairTable } from '../pairTable.js';
import { byteToken } from './byteToken.js';
import { mergeWord, type Symbols } from './mergeWord.js';
import type { Emit, Model } from './model.js';
import { unknownMissing } from './unknownMissing.js';
import { readVocabulary, type Vocabulary } from './vocabulary.js';

/** Byte pair encoding: letters, then the pairs that were merged first in training, first. */
export class Bpe implements Model {
  readonly vocabulary: Vocabulary;
  /** Rank of a pair of ids; the id of what it becomes is in #results. */
  readonly #ranks: PairTable;
  readonly #results: Uint32Array;
  readonly #unknown: { readonly id: number } | null;
  readonly #fuseUnknown: boolean;
  readonly #byteIds: readonly (number | undefined)[] | null;
  readonly #ignoreMerges: boolean;
  readonly #prefix: string;
  readonly #suffix: string;
  readonly #letters = new Map<string, number>();
  #symbols: Symbols = symbolsFor(256);

  /** @throws TOKENIZER_INVALID */
  constructor(fields: Fields) {
    this.vocabulary = readVocabulary(fields);
    const { ids } = this.vocabulary;
    if (fields.has('dropout') && fields.raw('dropout') !== 0)
      throw fields.error(
        `${fields.path}.dropout is ${show(fields.raw('dropout'))}: with it, tokens are drawn at random`,
        {
          remedy:
            'Set it to null, or tokenise in Python and train on rows of { input_ids, labels }.',
        },
      );
    const flag = (key: string) => fields.has(key) && fields.boolean(key);
    this.#prefix = fields.optionalString('continuing_subword_prefix') ?? '';
    this.#suffix = fields.optionalString('end_of_word_suffix') ?? '';
    this.#fuseUnknown = flag('fuse_unk');
    this.#ignoreMerges = flag('ignore_merges');
    const unknown = fields.optionalString('unk_token');
    const unknownId = unknown === null ? undefined : ids.get(unknown);
    // As the Rust library, which looks it up only where it needs it.
    this.#unknown = unknown === null ? null : { id: unknownId ?? -1 };
    this.#byteIds = flag('byte_fallback')
      ? Array.from({ length: 256 }, (_, byte) => ids.get(byteToken(byte)))
      : null;
    const merges = readMerges(fields);
    this.#ranks = new PairTable(merges.length);
    this.#results = new Uint32Array(merges.length);
    for (const [rank, [left, right]] of merges.entries()) {
      const [a, b] = [ids.get(left), ids.get(right)];
      const result = ids.get(left + right.slice(this.#prefix.length));
      if (a === undefined || b === undefined || result === undefined) {
        const missing = a === undefined ? left : b === undefined ? right : left + right;
        throw fields.error(
          `${fields.path}.merges[${rank}] joins ${show(left)} and ${show(right)}, but ${show(missing)} is not in the vocabulary`,
        );
      }
      this.#ranks.set(a, b, rank);
      this.#results[rank] = result;
    }
  }

  tokenize(word: string, emit: Emit): void {
    if (this.#ignoreMerges) {
      const whole = this.vocabulary.ids.get(word);
      if (whole !== undefined) {
        emit(whole, 0, word.length);
        return;
      }
    }
    if (this.#symbols.ids.length < word.length * 4) this.#symbols = symbolsFor(word.length * 4);
    const symbols = this.#symbols;
    const count = this.#spell(word, symbols);
    mergeWord(symbols, count, this.#ranks, this.#results);
    for (let i = 0; i >= 0 && i < count; i = symbols.next[i]!)
      emit(symbols.ids[i]!, symbols.begins[i]!, symbols.ends[i]!);
    if (word.length > LARGE) this.#symbols = symbolsFor(256);
  }

  /** The letters of a word as symbols; returns how many. */
  #spell(word: string, symbols: Symbols): number {
    const { ids, begins, ends } = symbols;
    let count = 0;
    // Unknown letters wait for others to be joined with, even past bytes, as in the Rust library.
    let unknownAt = -1;
    let unknownEnd = 0;
    const add = (id: number, begin: number, end: number) => {
      ids[count] = id;
      begins[count] = begin;
      ends[count] = end;
      count++;
    };
    for (let at = 0; at < word.length; ) {
      const end = at + widthOf(word.codePointAt(at)!);
      const letter = word.slice(at, end);
      const id = this.#letterId(letter, at === 0, end === word.length);
      if (id >= 0) {
        if (unknownAt >= 0) add(this.#unknownId(), unknownAt, unknownEnd);
        unknownAt = -1;
        add(id, at, end);
      } else {
        const bytes =
          this.#byteIds && this.#bytesOf(this.#decorated(letter, at === 0, end === word.length));
        if (bytes) for (const byte of bytes) add(byte, at, end);
        else if (this.#unknown) {
          if (unknownAt >= 0 && !this.#fuseUnknown) {
            add(this.#unknownId(), unknownAt, unknownEnd);
            unknownAt = -1;
          }
          if (unknownAt < 0) {
            this.#unknownId();
            unknownAt = at;
          }
          unknownEnd = end;
        }
      }
      at = end;
    }
    if (unknownAt >= 0) add(this.#unknownId(), unknownAt, unknownEnd);
    return count;
  }

  #letterId(letter: string, first: boolean, last: boolean): number {
    if (this.#prefix === '' && this.#suffix === '') {
      let id = this.#letters.get(letter);
      if (id === undefined) {
        id = this.vocabulary.ids.get(letter) ?? -1;
        this.#letters.set(letter, id);
      }
      return id;
    }
    return this.vocabulary.ids.get(this.#decorated(letter, first, last)) ?? -1;
  }

  #decorated(letter: string, first: boolean, last: boolean): string {
    return (first ? '' : this.#prefix) + letter + (last ? this.#suffix : '');
  }

  #bytesOf(text: string): number[] | null {
    const bytes: number[] = [];
    for (const byte of utf8.encode(text)) {
      const id = this.#byteIds![byte];
      if (id === undefined) return null;
      bytes.push(id);
    }
    return bytes;
  }

  #unknownId(): number {
    const { id } = this.#unknown!;
    if (id < 0) throw unknownMissing();
    return id;
  }
}

/** Words longer than this do not leave their memory behind. */
const LARGE = 1 << 20;

const utf8 = new TextEncoder();

const symbolsFor = (count: number): Symbols => ({
  ids: new Uint32Array(count),
  begins: new Uint32Array(count),
  ends: new Uint32Array(count),
  next: new Int32Array(count),
  previous: new Int32Array(count),
});

/** Pairs to be merged, in order: ["a", "b"], or "a b" in older files. */
function readMerges(fields: Fields): (readonly [string, string])[] {
  const merges: (readonly [string, string])[] = [];
  for (const [i, merge] of fields.array('merges').entries()) {
    if (typeof merge === 'string' && merge.startsWith('#version')) continue;
    const parts: unknown = typeof merge === 'string' ? merge.split(' ') : merge;
    if (!Array.isArray(parts) || parts.length !== 2 || !parts.every((p) => typeof p === 'string'))
      throw fields.error(
        `${fields.path}.merges[${i}] is ${show(merge)}: expected two texts, ["a", "b"] or "a b"`,
      );
    merges.push(parts as [string, string]);
  }
  return merges;
}
