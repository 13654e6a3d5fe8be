import type { CharTest, Flags, PlaceTest, SameTest } from './syntax.js';

const test = (pattern: RegExp) => (code: number) => pattern.test(String.fromCodePoint(code));

/**
 * The classes of Python's `re`, of `str.isdecimal`, `isspace`, `isalnum`; with the flag `a` those
 * of ASCII.
 */
const UNICODE: Readonly<Record<string, CharTest>> = {
  d: test(/^\p{Nd}$/u),
  // Beside JavaScript's: the four separators of ASCII and the next line, but no byte order mark.
  s: (code) =>
    (code >= 0x1c && code <= 0x1f) || code === 0x85 || (code !== 0xfeff && test(/^\s$/u)(code)),
  w: test(/^[\p{L}\p{N}_]$/u),
};
const ASCII: Readonly<Record<string, CharTest>> = {
  d: test(/^[0-9]$/),
  s: test(/^[\t-\r ]$/),
  w: test(/^[A-Za-z0-9_]$/),
};

/** `\d`, `\D`, `\s`, `\S`, `\w`, `\W`; null for another letter. */
export function characterClass(letter: string, { ascii }: Flags): CharTest | null {
  const known = (ascii ? ASCII : UNICODE)[letter.toLowerCase()];
  if (!known) return null;
  // Names are ASCII: their answers are looked up.
  const low = Array.from({ length: 128 }, (_, code) => known(code));
  const fits = (code: number) => low[code] ?? known(code);
  return letter === letter.toLowerCase() ? fits : (code) => !fits(code);
}

const LINE_FEED = 10;

export const anything: CharTest = () => true;
export const notLineFeed: CharTest = (code) => code !== LINE_FEED;

export const textStart: PlaceTest = (_, at) => at === 0;
export const textEnd: PlaceTest = (text, at) => at === text.length;
export const lineStart: PlaceTest = (text, at) => at === 0 || text[at - 1] === LINE_FEED;
export const lineEnd: PlaceTest = (text, at) => at === text.length || text[at] === LINE_FEED;

/** `$`: the end, or before a line feed that is the last of the text. */
export const lastLineEnd: PlaceTest = (text, at) =>
  at === text.length || (at === text.length - 1 && text[at] === LINE_FEED);

/** `\b` and `\B`; neither fits an empty text, as in Python 3.11. */
export function wordBoundary(isOne: boolean, flags: Flags): PlaceTest {
  const isWord = characterClass('w', flags)!;
  return (text, at) => {
    if (text.length === 0) return false;
    const before = at > 0 && isWord(text[at - 1]!);
    const after = at < text.length && isWord(text[at]!);
    return (before !== after) === isOne;
  };
}

/** The spellings of a character that `i` takes for one. */
function spellings(code: number, { ascii }: Flags): readonly number[] {
  if (ascii && code > 127) return [code];
  const character = String.fromCodePoint(code);
  const one = (text: string, otherwise: number) => {
    const [first, ...more] = text;
    const found = more.length === 0 ? first!.codePointAt(0)! : otherwise;
    return ascii && found > 127 ? code : found;
  };
  // One letter alone becomes two when it is made small, and Python takes the first.
  const lower = (text: string) => one(text.toLowerCase(), text.toLowerCase().codePointAt(0)!);
  const upper = (text: string) => one(text.toUpperCase(), text.codePointAt(0)!);
  const [small, large] = [lower(character), upper(character)];
  return [
    code,
    small,
    large,
    lower(String.fromCodePoint(large)),
    upper(String.fromCodePoint(small)),
  ];
}

/** Whether two characters are one under these flags. */
export function sameCharacter(flags: Flags): SameTest {
  if (!flags.ignoreCase) return (a, b) => a === b;
  return (a, b) => a === b || spellings(a, flags).some((one) => spellings(b, flags).includes(one));
}

export function literal(code: number, flags: Flags): CharTest {
  if (!flags.ignoreCase) return (found) => found === code;
  const same = sameCharacter(flags);
  return (found) => same(found, code);
}

/** A set `[...]`: the tests of its members, and whether it is `[^...]`. */
export function characterSet(
  members: readonly CharTest[],
  negated: boolean,
  flags: Flags,
): CharTest {
  const has = (code: number) => members.some((member) => member(code));
  const fits = flags.ignoreCase ? (code: number) => spellings(code, flags).some(has) : has;
  return negated ? (code) => !fits(code) : fits;
}
