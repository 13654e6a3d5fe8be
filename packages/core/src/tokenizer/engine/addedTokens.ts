import type { CharSet } from './charSet.js';
import { type Fields, show } from './fields.js';
import type { Vocabulary } from './models/vocabulary.js';
import type { Normalizer } from './normalizers.js';
import { pieceOf } from './piece.js';
import { Trie } from './trie.js';
import { charSets } from './unicode.js';

/** A token that is found in the text before the model sees it, and never made by merging. */
export interface AddedToken {
  readonly content: string;
  /** Only where no letter stands beside it. */
  readonly singleWord: boolean;
  /** Takes the white space before it, behind it. */
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  /** Is looked for in the text after normalising, as it is normalised itself. */
  readonly normalized: boolean;
  /** Is left out by `decode` with skipSpecialTokens. */
  readonly special: boolean;
}

/**
 * An added token in a text: [begin, end), with the white space that it takes; id -1 for text
 * between.
 */
export interface Found {
  readonly id: number;
  readonly begin: number;
  readonly end: number;
}

/** Reads one of tokenizer.json's added_tokens. @throws TOKENIZER_INVALID */
export function readAddedToken(fields: Fields): AddedToken {
  return {
    content: fields.string('content'),
    singleWord: fields.boolean('single_word'),
    lstrip: fields.boolean('lstrip'),
    rstrip: fields.boolean('rstrip'),
    normalized: fields.boolean('normalized'),
    special: fields.boolean('special'),
  };
}

/** The tokens beside a model's vocabulary. */
export class AddedTokens {
  readonly byId = new Map<number, AddedToken>();
  readonly #ids = new Map<string, number>();
  readonly #special = new Set<string>();
  /** What normalised tokens have become, where that is another text. */
  readonly #normalized = new Map<number, string>();
  readonly #white: CharSet = charSets.whiteSpace();
  readonly #word: CharSet = charSets.word();
  #finders: readonly [plain: Finder, normalized: Finder] | null = null;

  constructor(
    private readonly fields: Fields,
    private readonly vocabulary: Vocabulary,
    private readonly normalizer: Normalizer | null,
    /** Whether special tokens in a text are text. */
    private readonly splitsSpecial: boolean,
  ) {}

  /**
   * Adds tokens in order. One that the vocabulary or an added token has keeps its id; a new one
   * gets the number of the model's tokens, or the one behind the highest added id.
   *
   * @throws TOKENIZER_INVALID for one that normalising makes empty
   */
  add(tokens: readonly AddedToken[]): void {
    const size = this.vocabulary.ids.size;
    let highest = -1;
    for (const id of this.byId.keys()) highest = Math.max(highest, id);
    let next = highest >= size || (size === 0 && highest >= 0) ? highest + 1 : size;
    for (const token of tokens) {
      if (token.content === '') continue;
      const id = this.idOf(token.content) ?? next++;
      if (token.normalized && this.normalizer) {
        const text = this.normalizer(pieceOf(token.content)).text;
        if (text === '')
          throw this.fields.error(
            `nothing is left of the added token ${show(token.content)} when it is normalised, so that it could never be found`,
            { remedy: 'Set its "normalized" to false.' },
          );
        if (text !== token.content) this.#normalized.set(id, text);
      }
      this.#ids.set(token.content, id);
      if (token.special) this.#special.add(token.content);
      this.byId.set(id, token);
    }
    this.#finders = null;
  }

  idOf(content: string): number | undefined {
    return this.#ids.get(content) ?? this.vocabulary.ids.get(content);
  }

  /** A token's text as the decoder takes it: normalised, where it is found so. */
  textOf(id: number): string | undefined {
    const token = this.byId.get(id);
    return token && (this.#normalized.get(id) ?? token.content);
  }

  isSpecial(content: string): boolean {
    return this.#special.has(content);
  }

  /** Added tokens that are looked for before, or after, normalising, and the text between them. */
  find(text: string, normalized: boolean): readonly Found[] {
    this.#finders ??= [this.#finder(false), this.#finder(true)];
    const matches = this.#finders[normalized ? 1 : 0].findAll(text);
    const found: Found[] = [];
    let at = 0;
    for (const match of matches) {
      const token = this.byId.get(match.id)!;
      let { begin, end } = match;
      if (this.splitsSpecial && this.#special.has(token.content)) continue;
      if (token.singleWord && (this.#wordBefore(text, begin) || this.#wordAt(text, end))) continue;
      if (token.lstrip) begin = Math.max(this.#spaceBefore(text, begin), at);
      if (token.rstrip) while (end < text.length && this.#white.has(text.charCodeAt(end))) end++;
      if (at < begin) found.push({ id: -1, begin: at, end: begin });
      // Nothing is left of one whose white space the token before it took.
      if (begin < end) found.push({ id: match.id, begin, end });
      at = end;
    }
    if (at !== text.length || text === '') found.push({ id: -1, begin: at, end: text.length });
    return found;
  }

  #finder(normalized: boolean): Finder {
    const texts: [string, number][] = [];
    for (const [id, token] of this.byId)
      if (token.normalized === normalized)
        texts.push([normalized ? this.textOf(id)! : token.content, id]);
    return new Finder(texts);
  }

  #spaceBefore(text: string, end: number): number {
    let begin = end;
    while (begin > 0 && this.#white.has(text.charCodeAt(begin - 1))) begin--;
    return begin;
  }

  #wordAt(text: string, at: number): boolean {
    return at < text.length && this.#word.has(text.codePointAt(at)!);
  }

  #wordBefore(text: string, at: number): boolean {
    if (at === 0) return false;
    const pair = at >= 2 && text.codePointAt(at - 2)! > 0xffff;
    return this.#word.has(text.codePointAt(pair ? at - 2 : at - 1)!);
  }
}

/** Finds texts in a text: from the left, of those that begin at one place the longest. */
class Finder {
  readonly #trie = new Trie();
  readonly #begins = new Set<number>();

  constructor(texts: readonly (readonly [string, number])[]) {
    for (const [text, id] of texts) {
      if (text === '') continue;
      this.#trie.add(text, id);
      this.#begins.add(text.charCodeAt(0));
    }
  }

  findAll(text: string): Found[] {
    const found: Found[] = [];
    if (this.#begins.size === 0) return found;
    for (let begin = 0; begin < text.length; ) {
      if (!this.#begins.has(text.charCodeAt(begin))) {
        begin++;
        continue;
      }
      let id = -1;
      let end = begin + 1;
      for (let node = 0, at = begin; at < text.length; ) {
        node = this.#trie.next(node, text.charCodeAt(at++));
        if (node < 0) break;
        if (this.#trie.valueAt(node) < 0) continue;
        id = this.#trie.valueAt(node);
        end = at;
      }
      if (id >= 0) found.push({ id, begin, end });
      begin = end;
    }
    return found;
  }
}
