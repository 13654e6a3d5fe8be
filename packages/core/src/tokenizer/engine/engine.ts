import { AttuneError } from '../../util/errors.js';
import { type AddedToken, AddedTokens, readAddedToken } from './addedTokens.js';
import { type Decoder, readDecoder } from './decoders.js';
import { Fields } from './fields.js';
import { Bpe } from './models/bpe.js';
import type { Model } from './models/model.js';
import { Unigram } from './models/unigram.js';
import { WordLevel, WordPiece } from './models/words.js';
import { inLetters, type Normalizer, pieceInLetters, readNormalizer } from './normalizers.js';
import { originOf, type Piece, pieceOf, slice, tracked } from './piece.js';
import { type PostProcessor, readPostProcessor, type Token } from './postProcessors.js';
import { type PreTokenization, readPreTokenizers } from './preTokenizers.js';
import { PatternError } from './regexSyntax.js';

/** A text as tokens. */
export interface Encoding {
  readonly ids: number[];
  /**
   * [begin, end) of each token in the text, in UTF-16 units; [0, 0] for tokens that were put around
   * it.
   */
  readonly offsets: readonly (readonly [number, number])[];
}

/** Text to tokens and back: all that the rest of Attune asks of a tokenizer's inside. */
export interface TokenizerEngine {
  /** @throws TOKENIZER_UNKNOWN, TOKENIZER_INPUT */
  encode(text: string, addSpecialTokens: boolean): number[];
  /** The same ids, with where each stands in the text. Takes longer. */
  encodeWithOffsets(text: string, addSpecialTokens: boolean): Encoding;
  /** Ids that no token has are passed over. */
  decode(ids: readonly number[], skipSpecialTokens: boolean): string;
  tokenToId(token: string): number | null;
  idToToken(id: number): string | null;
  /** Ids with their tokens, added ones too. */
  entries(): Iterable<readonly [id: number, token: string]>;
  readonly added: ReadonlyMap<number, AddedToken>;
}

export interface EngineOptions {
  /** Tokens to add beyond those of the file, in order. */
  readonly addedTokens?: readonly AddedToken[];
  /** Whether special tokens that stand in a text are taken as text. Default false. */
  readonly splitSpecialTokens?: boolean;
}

/**
 * Builds what a tokenizer.json describes, to give the ids of Rust tokenizers 0.23.
 *
 * @param file the file, for messages
 * @throws TOKENIZER_INVALID naming the part that is wrong, or that is not supported
 */
export function createEngine(
  file: string,
  json: Readonly<Record<string, unknown>>,
  options: EngineOptions = {},
): TokenizerEngine {
  return new Engine(Fields.root(file, json), options);
}

/** Words that are kept with their tokens, and how long they may be. */
const CACHED_WORDS = 100_000;
const CACHED_LENGTH = 256;

class Engine implements TokenizerEngine {
  readonly added: ReadonlyMap<number, AddedToken>;
  readonly #file: string;
  readonly #model: Model;
  readonly #normalizer: Normalizer | null;
  readonly #pre: PreTokenization;
  readonly #post: PostProcessor | null;
  readonly #decoder: Decoder | null;
  readonly #tokens: AddedTokens;
  /** Whether even ids alone need to know where pieces came from. */
  readonly #tracks: boolean;
  readonly #cache = new Map<string, readonly number[]>();

  constructor(fields: Fields, options: EngineOptions) {
    this.#file = fields.file;
    const part = (key: string) => (fields.has(key) ? fields.object(key) : null);
    if (fields.has('version') && fields.raw('version') !== '1.0')
      throw fields.wrong('version', '"1.0"');
    const normalizer = part('normalizer');
    const post = part('post_processor');
    const decoder = part('decoder');
    this.#normalizer = normalizer && readNormalizer(normalizer);
    this.#pre = readPreTokenizers(part('pre_tokenizer'));
    this.#post = post && readPostProcessor(post);
    this.#decoder = decoder && readDecoder(decoder);
    this.#model = readModel(fields.object('model'));
    this.#tracks = this.#pre.asksStart && (normalizer !== null || this.#pre.steps.length > 1);
    this.#tokens = new AddedTokens(
      fields,
      this.#model.vocabulary,
      this.#normalizer,
      options.splitSpecialTokens ?? false,
    );
    const inFile = fields.has('added_tokens') ? fields.objects('added_tokens') : [];
    for (const token of inFile) token.count('id');
    this.#tokens.add(inFile.map(readAddedToken));
    this.#tokens.add(options.addedTokens ?? []);
    this.added = this.#tokens.byId;
  }

  encode(text: string, addSpecialTokens: boolean): number[] {
    const ids: number[] = [];
    this.#eachPiece(text, this.#tracks, (piece, id) => {
      if (id >= 0) ids.push(id);
      else for (const known of this.#wordIds(piece.text)) ids.push(known);
    });
    if (!this.#post) return ids;
    const tokens = ids.map((id) => ({ id, begin: 0, end: 0 }));
    return this.#post([tokens], addSpecialTokens).flatMap((part) => part.map((token) => token.id));
  }

  encodeWithOffsets(text: string, addSpecialTokens: boolean): Encoding {
    const tokens: Token[] = [];
    this.#eachPiece(text, true, (piece, id) => {
      if (id >= 0) {
        const [begin, end] = originOf(piece, 0, piece.text.length);
        tokens.push({ id, begin, end });
        return;
      }
      const spelt = this.#pre.inLetters ? pieceInLetters(piece) : piece;
      this.#model.tokenize(spelt.text, (token, from, to) => {
        const [begin, end] = originOf(spelt, from, to);
        tokens.push({ id: token, begin, end });
      });
    });
    const all = this.#post ? this.#post([tokens], addSpecialTokens).flat() : tokens;
    return { ids: all.map((t) => t.id), offsets: all.map((t) => [t.begin, t.end] as const) };
  }

  decode(ids: readonly number[], skipSpecialTokens: boolean): string {
    const tokens: string[] = [];
    for (const id of ids) {
      const token = this.#tokens.textOf(id) ?? this.#model.vocabulary.tokens.get(id);
      if (token === undefined || (skipSpecialTokens && this.#tokens.isSpecial(token))) continue;
      tokens.push(token);
    }
    if (!this.#decoder) return tokens.join(' ');
    return this.#guarded(() => this.#decoder!(tokens).join(''));
  }

  tokenToId(token: string): number | null {
    return this.#tokens.idOf(token) ?? null;
  }

  idToToken(id: number): string | null {
    return this.added.get(id)?.content ?? this.#model.vocabulary.tokens.get(id) ?? null;
  }

  *entries(): Iterable<readonly [number, string]> {
    yield* this.#model.vocabulary.tokens;
    for (const [id, token] of this.added) yield [id, token.content];
  }

  /** Words, with id -1, and added tokens, with theirs, from left to right. */
  #eachPiece(text: string, tracks: boolean, visit: (piece: Piece, id: number) => void): void {
    const whole = wellFormed(text);
    // Positions are followed from the beginning of the text: a piece of it begins where it stands.
    const all = tracks ? tracked(whole) : pieceOf(whole);
    this.#guarded(() => {
      for (const outer of this.#tokens.find(whole, false)) {
        const part = slice(all, outer.begin, outer.end);
        if (outer.id >= 0) {
          visit(part, outer.id);
          continue;
        }
        if (part.text === '') continue;
        const normalized = this.#normalizer ? this.#normalizer(part) : part;
        for (const inner of this.#tokens.find(normalized.text, true)) {
          const piece = slice(normalized, inner.begin, inner.end);
          if (piece.text === '') continue;
          if (inner.id >= 0) visit(piece, inner.id);
          else this.#split(piece, 0, visit);
        }
      }
    });
  }

  #split(piece: Piece, step: number, visit: (piece: Piece, id: number) => void): void {
    const { steps } = this.#pre;
    if (step === steps.length) {
      visit(piece, -1);
      return;
    }
    const out: Piece[] = [];
    steps[step]!(piece, out);
    for (const part of out) if (part.text !== '') this.#split(part, step + 1, visit);
  }

  #wordIds(word: string): readonly number[] {
    const known = this.#cache.get(word);
    if (known) return known;
    const ids: number[] = [];
    this.#model.tokenize(this.#pre.inLetters ? inLetters(word) : word, (id) => ids.push(id));
    if (word.length <= CACHED_LENGTH) {
      if (this.#cache.size >= CACHED_WORDS) this.#cache.clear();
      this.#cache.set(word, ids);
    }
    return ids;
  }

  /** Says which file a pattern that does not come to an end is from. */
  #guarded<T>(work: () => T): T {
    try {
      return work();
    } catch (cause) {
      if (!(cause instanceof PatternError)) throw cause;
      throw new AttuneError(
        'TOKENIZER_INPUT',
        `a pattern of ${this.#file} cannot be matched: ${cause.message}.`,
        { remedy: 'Use a tokenizer whose patterns are simpler, or shorter texts.', cause },
      );
    }
  }
}

function readModel(fields: Fields): Model {
  switch (fields.string('type', typeOf(fields))) {
    case 'BPE':
      return new Bpe(fields);
    case 'Unigram':
      return new Unigram(fields);
    case 'WordPiece':
      return new WordPiece(fields);
    case 'WordLevel':
      return new WordLevel(fields);
    default:
      throw fields.unknown();
  }
}

/** The kind of a model that does not name it, as in old files: by its fields. */
function typeOf(fields: Fields): string {
  if (fields.has('merges')) return 'BPE';
  if (Array.isArray(fields.raw('vocab'))) return 'Unigram';
  return fields.has('continuing_subword_prefix') ? 'WordPiece' : 'WordLevel';
}

/** Half a surrogate pair is no character: it becomes a replacement character, as in UTF-8. */
const wellFormed = (text: string): string =>
  /\p{Surrogate}/u.test(text) ? text.replaceAll(/\p{Surrogate}/gu, '\ufffd') : text;
