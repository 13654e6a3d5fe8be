/** A set of code points. */
export interface CharSet {
  has(code: number): boolean;
}

const PAGE = 256;

/**
 * A set by a rule, which is asked once for each code point: answers are kept in pages of 256, which
 * exist only where text has been.
 */
export class RuleSet implements CharSet {
  readonly #pages: (Uint8Array | undefined)[] = [];

  constructor(private readonly rule: (code: number) => boolean) {}

  has(code: number): boolean {
    const page = code >>> 8;
    let answers = this.#pages[page];
    if (answers === undefined) {
      answers = new Uint8Array(PAGE);
      this.#pages[page] = answers;
    }
    const known = answers[code & 0xff]!;
    if (known !== 0) return known === 1;
    const answer = this.rule(code);
    answers[code & 0xff] = answer ? 1 : 2;
    return answer;
  }
}

/** The set that a regular expression of one character says. */
export const setOf = (oneCharacter: RegExp): CharSet =>
  new RuleSet((code) => oneCharacter.test(String.fromCodePoint(code)));

/**
 * Spaces as Unicode and Rust have them: U+0085 is one, U+FEFF is none (JavaScript's \s differs).
 */
export const whiteSpace: RegExp = /^\p{White_Space}$/u;

/** The width in UTF-16 units of a code point. */
export const widthOf = (code: number): 1 | 2 => (code > 0xffff ? 2 : 1);

/** The code points that fold to the same letter as `code` does. */
export function caseVariants(code: number): Set<number> {
  const text = String.fromCodePoint(code);
  const lower = text.toLowerCase();
  const upper = text.toUpperCase();
  const variants = [text, lower, upper, upper.toLowerCase(), lower.toUpperCase()];
  const single = variants.filter((v) => v.length === widthOf(v.codePointAt(0)!));
  return new Set(single.map((v) => v.codePointAt(0)!));
}
