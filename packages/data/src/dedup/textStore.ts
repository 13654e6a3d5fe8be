import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { IntList } from './growing.js';

/** Bytes of a page. Longer texts have a page of their own. */
const PAGE = 2 ** 22;
/** Bytes of texts that are held in memory; what comes later is in a file. */
const IN_MEMORY = 2 ** 29;

/** A piece of bytes. */
export interface Piece {
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
}

/**
 * Texts as UTF-8, one behind the other: a third of what strings take. The first 512 MiB are in
 * memory, the others in a temporary file.
 */
export class TextStore implements Disposable {
  /** null: the page is in the file. */
  readonly #pages: (Uint8Array | null)[] = [];
  readonly #page = new IntList();
  readonly #start = new IntList();
  readonly #end = new IntList();
  #used = Number.POSITIVE_INFINITY;
  #inMemory = 0;
  #file: TextFile | null = null;

  constructor(
    private readonly mostInMemory = IN_MEMORY,
    private readonly pageBytes = PAGE,
  ) {}

  get length(): number {
    return this.#page.length;
  }

  /** @returns the number of the text, from 0 on */
  add({ bytes, start, end }: Piece): number {
    const length = end - start;
    if (this.#used + length > (this.#pages.at(-1)?.length ?? 0)) this.#turn(length);
    this.#pages.at(-1)!.set(bytes.subarray(start, end), this.#used);
    this.#page.push(this.#pages.length - 1);
    this.#start.push(this.#used);
    this.#used += length;
    this.#end.push(this.#used);
    return this.#page.length - 1;
  }

  /** Valid until the next call. */
  at(index: number): Piece {
    const page = this.#page.values[index]!;
    const start = this.#start.values[index]!;
    const end = this.#end.values[index]!;
    const bytes = this.#pages[page]!;
    return bytes === null ? this.#file!.read(page, start, end) : { bytes, start, end };
  }

  /** A new page for a text of so many bytes. */
  #turn(length: number): void {
    const last = this.#pages.at(-1);
    if (last) {
      if (this.#inMemory + last.length > this.mostInMemory) {
        this.#file ??= new TextFile();
        this.#file.write(this.#pages.length - 1, last.subarray(0, this.#used));
        this.#pages[this.#pages.length - 1] = null;
      } else this.#inMemory += last.length;
    }
    this.#pages.push(new Uint8Array(Math.max(this.pageBytes, length)));
    this.#used = 0;
  }

  [Symbol.dispose](): void {
    this.#file?.[Symbol.dispose]();
  }
}

/** Pages in a file of their own. */
class TextFile implements Disposable {
  readonly #folder = mkdtempSync(join(tmpdir(), 'attune-texts-'));
  readonly #file = openSync(join(this.#folder, 'texts'), 'w+');
  /** Where each page begins. */
  readonly #begins = new Map<number, number>();
  #length = 0;
  #read = new Uint8Array(2 ** 12);

  write(page: number, bytes: Uint8Array): void {
    this.#begins.set(page, this.#length);
    for (let done = 0; done < bytes.length; )
      done += writeSync(this.#file, bytes, done, bytes.length - done, this.#length + done);
    this.#length += bytes.length;
  }

  read(page: number, start: number, end: number): Piece {
    const length = end - start;
    if (length > this.#read.length) this.#read = new Uint8Array(2 * length);
    const from = this.#begins.get(page)! + start;
    for (let done = 0; done < length; ) {
      const read = readSync(this.#file, this.#read, done, length - done, from + done);
      if (read === 0) throw new Error('the file of texts ended early');
      done += read;
    }
    return { bytes: this.#read, start: 0, end: length };
  }

  [Symbol.dispose](): void {
    closeSync(this.#file);
    rmSync(this.#folder, { recursive: true, force: true });
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
