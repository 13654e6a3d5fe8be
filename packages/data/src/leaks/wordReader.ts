import { foldCase } from '../dedup/normalizeText.js';
import type { Tokens } from '../dedup/tokens.js';

enum Kind {
  Unknown = 0,
  Between = 1,
  Word = 2,
  /** A word by itself: scripts that put no spaces between words. */
  Alone = 3,
}

const ALONE =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]/u;
const WORD = /[\p{L}\p{N}\p{M}]/u;

/**
 * Reads the words of a text as leaks are looked for: runs of letters, marks and digits, without
 * case and width; each character of Chinese, Japanese or Thai. Punctuation and white space do not
 * count.
 */
export class WordReader {
  /** By code unit, as they are met. */
  readonly #kinds = new Uint8Array(2 ** 16);

  read(text: string, tokens: Tokens): void {
    tokens.clear();
    const normal = normalized(text);
    this.#walk(normal, (start, end) => {
      let a = 0x2545f491;
      let b = 0x4f6cdd1d;
      for (let i = start; i < end; i++) {
        const unit = normal.charCodeAt(i);
        a = Math.imul(a ^ unit, 0x01000193);
        b = Math.imul((b << 5) ^ (b >>> 27) ^ unit, 0x9e3779b1);
      }
      tokens.push(a ^ (a >>> 15), b ^ (b >>> 13));
    });
  }

  wordsOf(text: string): string[] {
    const words: string[] = [];
    const normal = normalized(text);
    this.#walk(normal, (start, end) => words.push(normal.slice(start, end)));
    return words;
  }

  #walk(text: string, onWord: (start: number, end: number) => void): void {
    let start = -1;
    for (let i = 0; i < text.length; ) {
      const point = text.codePointAt(i)!;
      const units = point > 0xffff ? 2 : 1;
      const kind = this.#kindOf(point);
      if (kind === Kind.Word) {
        if (start < 0) start = i;
      } else {
        if (start >= 0) onWord(start, i);
        start = -1;
        if (kind === Kind.Alone) onWord(i, i + units);
      }
      i += units;
    }
    if (start >= 0) onWord(start, text.length);
  }

  #kindOf(point: number): Kind {
    if (point > 0xffff) return kindOf(point);
    let kind: Kind = this.#kinds[point]!;
    if (kind === Kind.Unknown) {
      kind = kindOf(point);
      this.#kinds[point] = kind;
    }
    return kind;
  }
}

const normalized = (text: string): string => foldCase(text.normalize('NFKC')).normalize('NFKC');

function kindOf(point: number): Kind {
  const character = String.fromCodePoint(point);
  if (ALONE.test(character)) return Kind.Alone;
  return WORD.test(character) ? Kind.Word : Kind.Between;
}
