import { AttuneError } from '../errors.js';

/** Walks over the characters of an expression. */
export class Reader {
  readonly #characters: readonly string[];
  at = 0;

  constructor(readonly source: string) {
    this.#characters = [...source];
  }

  /** The next character; undefined at the end. */
  get next(): string | undefined {
    return this.#characters[this.at];
  }

  take(): string | undefined {
    return this.#characters[this.at++];
  }

  /** Steps over `text` if it comes next. */
  skip(text: string): boolean {
    const found = this.#characters.slice(this.at, this.at + text.length).join('');
    if (found !== text) return false;
    this.at += text.length;
    return true;
  }

  /** At most `most` characters that fit. */
  takeWhile(fits: RegExp, most = Number.POSITIVE_INFINITY): string {
    let out = '';
    while (out.length < most && this.next !== undefined && fits.test(this.next)) out += this.take();
    return out;
  }

  /** Up to `end`, which is stepped over. @throws REGEX_INVALID */
  until(end: string, what: string): string {
    let out = '';
    for (;;) {
      const character = this.take();
      if (character === undefined) throw this.error(`missing ${end}, unterminated ${what}`);
      if (character === end) return out;
      out += character;
    }
  }

  error(
    problem: string,
    remedy = "Mend the expression; its syntax is that of Python's re.",
  ): AttuneError {
    return new AttuneError(
      'REGEX_INVALID',
      `"${this.source}" is not a regular expression: ${problem}, at position ${Math.min(this.at, this.#characters.length)}.`,
      { remedy, details: { problem, position: this.at } },
    );
  }
}
