import { widthOf } from './charSet.js';

/**
 * A part of a text on its way through a tokenizer: what it has become, and where it came from.
 *
 * Positions are UTF-16 units of the text that was given. `from` and `to` say, for each unit of
 * `text`, which characters of the original it stands for; without them the piece is the original's
 * own text (or nobody asked where things are).
 */
export interface Piece {
  readonly text: string;
  /** Where the piece begins in the original. */
  readonly start: number;
  readonly from: Int32Array | null;
  readonly to: Int32Array | null;
}

export const pieceOf = (text: string): Piece => ({ text, start: 0, from: null, to: null });

/** The same, with positions for each unit, so that changes can be followed. */
export function tracked(text: string): Piece {
  const from = new Int32Array(text.length);
  const to = new Int32Array(text.length);
  for (let i = 0; i < text.length; ) {
    const width = widthOf(text.codePointAt(i)!);
    from.fill(i, i, i + width);
    to.fill(i + width, i, i + width);
    i += width;
  }
  return { text, start: 0, from, to };
}

/** A part of a piece: [begin, end) of its text. */
export function slice(piece: Piece, begin: number, end: number): Piece {
  const { text, from, to, start } = piece;
  if (!from || !to) {
    if (begin === 0 && end === text.length) return piece;
    return { text: text.slice(begin, end), start: start + begin, from: null, to: null };
  }
  return {
    text: text.slice(begin, end),
    start: begin < end ? from[begin]! : begin,
    from: from.subarray(begin, end),
    to: to.subarray(begin, end),
  };
}

/** What [begin, end) of a piece's text stands for in the original. */
export function originOf(piece: Piece, begin: number, end: number): readonly [number, number] {
  if (begin >= end) return [piece.start + begin, piece.start + end];
  if (!piece.from || !piece.to) return [piece.start + begin, piece.start + end];
  return [piece.from[begin]!, piece.to[end - 1]!];
}

/**
 * Writes a piece anew, character by character, following where each came from as Rust tokenizers
 * does: `replace` stands for the next character of the old text and removes further ones behind it,
 * `insert` belongs to what was taken last.
 */
export class Rewriter {
  #text = '';
  readonly #from: number[] = [];
  readonly #to: number[] = [];
  /** How much of the old text has been taken. */
  #taken = 0;
  readonly #tracks: boolean;

  /** @param skip characters at the beginning that are left out */
  constructor(
    private readonly piece: Piece,
    skip = 0,
  ) {
    this.#tracks = piece.from !== null;
    this.#skip(skip);
  }

  replace(char: string, removed = 0): void {
    this.#write(char, this.#taken);
    this.#skip(1 + removed);
  }

  insert(char: string): void {
    this.#write(char, this.#taken - 1);
  }

  /** The old text from here to `end`, as it is. */
  keep(end: number): void {
    const { text, from, to } = this.piece;
    this.#text += text.slice(this.#taken, end);
    if (from && to)
      for (let i = this.#taken; i < end; i++) {
        this.#from.push(from[i]!);
        this.#to.push(to[i]!);
      }
    this.#taken = end;
  }

  /** Leaves the old text out, up to `end`. */
  drop(end: number): void {
    this.#taken = end;
  }

  done(): Piece {
    const { start } = this.piece;
    if (!this.#tracks) return { text: this.#text, start, from: null, to: null };
    return {
      text: this.#text,
      start,
      from: Int32Array.from(this.#from),
      to: Int32Array.from(this.#to),
    };
  }

  #skip(count: number): void {
    const { text } = this.piece;
    for (let i = 0; i < count && this.#taken < text.length; i++)
      this.#taken += widthOf(text.codePointAt(this.#taken)!);
  }

  #write(char: string, origin: number): void {
    this.#text += char;
    const { from, to, start } = this.piece;
    if (!from || !to) return;
    const known = origin >= 0 && origin < from.length;
    for (let i = 0; i < char.length; i++) {
      this.#from.push(known ? from[origin]! : start);
      this.#to.push(known ? to[origin]! : start);
    }
  }
}

/** `head` before a piece; it stands for what the first character stands for. */
export function prepend(piece: Piece, head: string): Piece {
  if (piece.text === '') return piece;
  if (!piece.from) return { ...piece, text: head + piece.text };
  const rewriter = new Rewriter(piece);
  const first = String.fromCodePoint(piece.text.codePointAt(0)!);
  let begun = false;
  for (const char of head) {
    if (begun) rewriter.insert(char);
    else rewriter.replace(char);
    begun = true;
  }
  if (begun) rewriter.insert(first);
  rewriter.keep(piece.text.length);
  return rewriter.done();
}
