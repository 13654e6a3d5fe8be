import { widthOf } from '../charSet.js';
import type { Fields } from '../fields.js';
import { Trie } from '../trie.js';
import type { Emit, Model } from './model.js';
import { unknownMissing } from './unknownMissing.js';
import { readVocabulary, type Vocabulary } from './vocabulary.js';

/** Whole words, or the token for the unknown. */
export class WordLevel implements Model {
  readonly vocabulary: Vocabulary;
  readonly #unknown: number | undefined;

  /** @throws TOKENIZER_INVALID */
  constructor(fields: Fields) {
    this.vocabulary = readVocabulary(fields);
    this.#unknown = this.vocabulary.ids.get(fields.string('unk_token'));
  }

  tokenize(word: string, emit: Emit): void {
    const id = this.vocabulary.ids.get(word) ?? this.#unknown;
    if (id === undefined) throw unknownMissing();
    emit(id, 0, word.length);
  }
}

/**
 * The longest token from the left, again and again (BERT); a word that does not come out is unknown
 * as a whole.
 */
export class WordPiece implements Model {
  readonly vocabulary: Vocabulary;
  readonly #heads = new Trie();
  readonly #tails: Trie;
  readonly #unknown: number | undefined;
  readonly #maxLetters: number;

  /** @throws TOKENIZER_INVALID */
  constructor(fields: Fields) {
    this.vocabulary = readVocabulary(fields);
    this.#unknown = this.vocabulary.ids.get(fields.string('unk_token'));
    this.#maxLetters = fields.count('max_input_chars_per_word');
    const prefix = fields.string('continuing_subword_prefix');
    this.#tails = prefix === '' ? this.#heads : new Trie();
    for (const [token, id] of this.vocabulary.ids) {
      if (token !== '') this.#heads.add(token, id);
      if (prefix !== '' && token.length > prefix.length && token.startsWith(prefix))
        this.#tails.add(token.slice(prefix.length), id);
    }
  }

  tokenize(word: string, emit: Emit): void {
    const found = this.#pieces(word);
    if (found) for (const [id, begin, end] of found) emit(id, begin, end);
    else if (this.#unknown === undefined) throw unknownMissing();
    else emit(this.#unknown, 0, word.length);
  }

  #pieces(word: string): [id: number, begin: number, end: number][] | null {
    let letters = 0;
    for (let at = 0; at < word.length; at += widthOf(word.codePointAt(at)!))
      if (++letters > this.#maxLetters) return null;
    const pieces: [number, number, number][] = [];
    for (let begin = 0; begin < word.length; ) {
      const trie = begin === 0 ? this.#heads : this.#tails;
      let best = -1;
      let bestEnd = begin;
      for (let node = 0, end = begin; end < word.length; ) {
        node = trie.next(node, word.charCodeAt(end++));
        if (node < 0) break;
        if (trie.valueAt(node) < 0) continue;
        best = trie.valueAt(node);
        bestEnd = end;
      }
      if (best < 0) return null;
      pieces.push([best, begin, bestEnd]);
      begin = bestEnd;
    }
    return pieces;
  }
}
