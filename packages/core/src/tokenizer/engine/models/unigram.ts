import { widthOf } from '../charSet.js';
import { type Fields, isCount, show } from '../fields.js';
import { Trie } from '../trie.js';
import { byteToken } from './byteToken.js';
import type { Emit, Model } from './model.js';
import { unknownMissing } from './unknownMissing.js';
import type { Vocabulary } from './vocabulary.js';

/** What an unknown letter costs below the worst token. */
const UNKNOWN_PENALTY = 10;

/** The most likely way to write a word with tokens of known log-probabilities (Viterbi). */
export class Unigram implements Model {
  readonly vocabulary: Vocabulary;
  readonly #scores: Float64Array;
  readonly #trie = new Trie();
  readonly #unknown: number;
  readonly #unknownScore: number;
  readonly #byteIds: readonly (number | undefined)[] | null;

  /** @throws TOKENIZER_INVALID */
  constructor(fields: Fields) {
    const entries = fields.array('vocab').map((entry, i) => readEntry(fields, entry, i));
    const ids = new Map<string, number>();
    const tokens = new Map<number, string>();
    this.#scores = new Float64Array(entries.length);
    let lowest = Number.POSITIVE_INFINITY;
    for (const [id, [token, score]] of entries.entries()) {
      ids.set(token, id);
      tokens.set(id, token);
      this.#scores[id] = score;
      lowest = Math.min(lowest, score);
    }
    // The last counts of tokens that stand there twice.
    for (const [token, id] of ids) if (token !== '') this.#trie.add(token, id);
    this.vocabulary = { ids, tokens };
    this.#unknownScore = lowest - UNKNOWN_PENALTY;
    this.#unknown = readUnknown(fields, entries.length);
    this.#byteIds =
      fields.has('byte_fallback') && fields.boolean('byte_fallback')
        ? Array.from({ length: 256 }, (_, byte) => ids.get(byteToken(byte)))
        : null;
  }

  tokenize(word: string, emit: Emit): void {
    const { ids, begins } = this.#bestPath(word);
    // From the end to the beginning; unknown letters side by side are one.
    const path: [begin: number, end: number][] = [];
    let joined = false;
    for (let end = word.length; end > 0; ) {
      const begin = begins[end]!;
      const unknown = ids[end] === this.#unknown;
      if (unknown && joined) path[path.length - 1]![0] = begin;
      else path.push([begin, end]);
      joined = unknown;
      end = begin;
    }
    for (let i = path.length - 1; i >= 0; i--) this.#emit(word, ...path[i]!, emit);
  }

  #emit(word: string, begin: number, end: number, emit: Emit): void {
    const text = word.slice(begin, end);
    const id = this.vocabulary.ids.get(text);
    if (id !== undefined) {
      emit(id, begin, end);
      return;
    }
    const bytes = this.#byteIds && Array.from(utf8.encode(text), (byte) => this.#byteIds![byte]);
    if (bytes?.every((byte) => byte !== undefined))
      for (const byte of bytes) emit(byte, begin, end);
    else if (this.#unknown >= 0) emit(this.#unknown, begin, end);
    else throw unknownMissing();
  }

  /** For each place of a word, the token that ends the best way up to it, and where that begins. */
  #bestPath(word: string): { ids: Int32Array; begins: Int32Array } {
    const size = word.length;
    const scores = new Float64Array(size + 1);
    const begins = new Int32Array(size + 1).fill(-1);
    const ids = new Int32Array(size + 1);
    const trie = this.#trie;
    const offer = (begin: number, end: number, id: number, score: number) => {
      if (begins[end]! >= 0 && score <= scores[end]!) return;
      scores[end] = score;
      begins[end] = begin;
      ids[end] = id;
    };
    for (let begin = 0; begin < size; ) {
      const single = begin + widthOf(word.codePointAt(begin)!);
      const before = scores[begin]!;
      let hasSingle = false;
      for (let node = 0, end = begin; end < size; ) {
        node = trie.next(node, word.charCodeAt(end++));
        if (node < 0) break;
        const id = trie.valueAt(node);
        if (id < 0) continue;
        offer(begin, end, id, this.#scores[id]! + before);
        if (end === single) hasSingle = true;
      }
      if (!hasSingle) {
        if (
          this.#unknown < 0 &&
          !(begins[single]! >= 0 && this.#unknownScore + before <= scores[single]!)
        )
          throw unknownMissing();
        offer(begin, single, this.#unknown, this.#unknownScore + before);
      }
      begin = single;
    }
    return { ids, begins };
  }
}

const utf8 = new TextEncoder();

function readEntry(fields: Fields, entry: unknown, i: number): readonly [string, number] {
  if (Array.isArray(entry) && entry.length === 2) {
    const [token, score] = entry as unknown[];
    if (typeof token === 'string' && typeof score === 'number') return [token, score];
  }
  throw fields.error(
    `${fields.path}.vocab[${i}] is ${show(entry)}: expected a token and its log-probability`,
  );
}

function readUnknown(fields: Fields, count: number): number {
  if (!fields.has('unk_id')) return -1;
  const id = fields.raw('unk_id');
  if (isCount(id) && id < count) return id;
  throw fields.wrong('unk_id', `the id of one of the ${count} tokens`);
}
