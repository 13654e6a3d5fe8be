import { IntList } from './growing.js';

/** Bytes of a page. Longer texts have a page of their own. */
const PAGE = 2 ** 22;

/** A piece of bytes. */
export interface Piece {
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
}

/** Texts as UTF-8, one behind the other: a third of what strings take. */
export class TextStore {
  readonly #pages: Uint8Array[] = [];
  readonly #page = new IntList();
  readonly #start = new IntList();
  readonly #end = new IntList();
  #used = PAGE;

  get length(): number {
    return this.#page.length;
  }

  /** @returns the number of the text, from 0 on */
  add({ bytes, start, end }: Piece): number {
    const length = end - start;
    if (this.#used + length > (this.#pages.at(-1)?.length ?? 0)) {
      this.#pages.push(new Uint8Array(Math.max(PAGE, length)));
      this.#used = 0;
    }
    this.#pages.at(-1)!.set(bytes.subarray(start, end), this.#used);
    this.#page.push(this.#pages.length - 1);
    this.#start.push(this.#used);
    this.#used += length;
    this.#end.push(this.#used);
    return this.#page.length - 1;
  }

  at(index: number): Piece {
    return {
      bytes: this.#pages[this.#page.values[index]!]!,
      start: this.#start.values[index]!,
      end: this.#end.values[index]!,
    };
  }
}

/** Encodes one text after the other into the same memory. */
export class TextBytes {
  #bytes = new Uint8Array(2 ** 12);
  readonly #encoder = new TextEncoder();

  /** Valid until the next call. */
  of(text: string): Piece {
    if (3 * text.length > this.#bytes.length) this.#bytes = new Uint8Array(6 * text.length);
    const { written } = this.#encoder.encodeInto(text, this.#bytes);
    return { bytes: this.#bytes, start: 0, end: written };
  }
}
