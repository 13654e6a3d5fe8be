import type { Fields } from './fields.js';
import { type Piece, Rewriter } from './piece.js';

/**
 * SentencePiece's `Precompiled` normaliser: a map from texts to texts as a double array trie
 * (Darts) over UTF-8, then the texts, each ended by a zero. A cluster of characters of less than
 * six bytes is looked up as a whole first, then each of its characters; of several beginnings that
 * the map knows, the shortest counts.
 */
export class Charsmap {
  readonly #trie: Uint32Array;
  readonly #texts: Uint8Array;
  readonly #known = new Map<string, string | null>();
  readonly #clusters = new Intl.Segmenter('en', { granularity: 'grapheme' });

  /** @throws TOKENIZER_INVALID when precompiled_charsmap is no such map */
  constructor(fields: Fields) {
    const bytes = decodeBase64(fields);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const size = bytes.length >= 4 ? view.getUint32(0, true) : -1;
    if (size < 0 || size % 4 !== 0 || size + 4 > bytes.length)
      throw fields.error(
        `${fields.path}.precompiled_charsmap says that its trie has ${size} bytes, but ${bytes.length} are there`,
      );
    this.#trie = Uint32Array.from({ length: size / 4 }, (_, i) => view.getUint32(4 + 4 * i, true));
    this.#texts = bytes.subarray(4 + size);
  }

  readonly normalize = (piece: Piece): Piece => {
    const rewriter = new Rewriter(piece);
    let changed = false;
    const write = (old: string, found: string) => {
      changed = true;
      const before = Array.from(old).length;
      const after = Array.from(found);
      // What is too much belongs to the last character; more characters belong to the last one
      // replaced.
      for (const [i, char] of after.entries())
        if (i >= before) rewriter.insert(char);
        else rewriter.replace(char, i === after.length - 1 ? before - after.length : 0);
      if (after.length === 0) rewriter.drop(at + old.length);
    };
    let at = 0;
    for (const cluster of this.#segments(piece.text)) {
      const whole = byteLength(cluster) < 6 ? this.#lookUp(cluster) : null;
      if (whole !== null) {
        write(cluster, whole);
        at += cluster.length;
        continue;
      }
      for (const char of cluster) {
        const found = this.#lookUp(char);
        if (found === null) rewriter.replace(char);
        else write(char, found);
        at += char.length;
      }
    }
    return changed ? rewriter.done() : piece;
  };

  #segments(text: string): Iterable<string> {
    return /[^\x20-\x7e]/.test(text) ? segmentsOf(this.#clusters.segment(text)) : text;
  }

  #lookUp(text: string): string | null {
    let found = this.#known.get(text);
    if (found === undefined) {
      found = this.#search(utf8.encode(text));
      if (this.#known.size < 100_000) this.#known.set(text, found);
    }
    return found;
  }

  #search(key: Uint8Array): string | null {
    const trie = this.#trie;
    let at = offset(trie[0] ?? 0);
    for (const byte of key) {
      if (byte === 0) return null;
      at = (at ^ byte) >>> 0;
      const unit = trie[at];
      if (unit === undefined || (unit & 0x800000ff) >>> 0 !== byte) return null;
      at = (at ^ offset(unit)) >>> 0;
      if (((unit >>> 8) & 1) === 1) return this.#textAt((trie[at] ?? 0) & 0x7fffffff);
    }
    return null;
  }

  #textAt(start: number): string {
    const end = this.#texts.indexOf(0, start);
    return new TextDecoder('utf-8', { ignoreBOM: true }).decode(
      this.#texts.subarray(start, end < 0 ? this.#texts.length : end),
    );
  }
}

const offset = (unit: number): number => ((unit >>> 10) << ((unit & 0x200) >>> 6)) >>> 0;

const utf8 = new TextEncoder();

function byteLength(text: string): number {
  let bytes = 0;
  for (const char of text) {
    const code = char.codePointAt(0)!;
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  }
  return bytes;
}

function* segmentsOf(segments: Intl.Segments): Iterable<string> {
  for (const { segment } of segments) yield segment;
}

function decodeBase64(fields: Fields): Uint8Array {
  try {
    return Uint8Array.from(atob(fields.string('precompiled_charsmap')), (c) => c.charCodeAt(0));
  } catch (cause) {
    if ((cause as Error).name !== 'InvalidCharacterError') throw cause;
    throw fields.error(`${fields.path}.precompiled_charsmap is not base64`, { cause });
  }
}
