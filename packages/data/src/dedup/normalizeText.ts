import { z } from 'zod';

/** Which differences between two texts do not count. */
export const normalizationShape = {
  /** "Hello" equals "hello", "STRASSE" "Straße" (Unicode's full case folding). Default true. */
  ignoreCase: z.boolean().default(true).meta({ aka: 'lowercase' }),
  /** One space equals any white space; none counts at the ends. Default true. */
  ignoreSpace: z.boolean().default(true).meta({ aka: 'strip' }),
  /**
   * Full-width letters, ligatures and other forms of one character are equal (Unicode NFKC).
   * Default true.
   */
  ignoreWidth: z.boolean().default(true).meta({ aka: 'nfkc' }),
};

export interface Normalization {
  readonly ignoreCase: boolean;
  readonly ignoreSpace: boolean;
  readonly ignoreWidth: boolean;
}

export const sameNormalization = (a: Normalization, b: Normalization): boolean =>
  a.ignoreCase === b.ignoreCase &&
  a.ignoreSpace === b.ignoreSpace &&
  a.ignoreWidth === b.ignoreWidth;

// biome-ignore lint/suspicious/noControlCharactersInRegex: what is no ASCII.
const BEYOND_ASCII = /[^\x00-\x7f]/;
/** Characters that nobody sees: soft hyphen, zero-width space, word joiner, byte order mark. */
const INVISIBLE = /[\u00ad\u200b\u2060\ufeff]/g;
/** White space as Python has it: also the four separators of ASCII, and the next line. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are white space.
const SPACES = /[\s\x1c-\x1f\x85]+/g;
/** White space that is not one space between two words. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are white space.
const ODD_SPACE = /[^\S ]|[\x1c-\x1f\x85]|\s\s|^\s|\s$/;

/**
 * A text without its case, as Python's `casefold`: letters whose capitals are alike are alike, such
 * as "ß" and "ss", or the two small sigmas. The dotless i of Turkish is not "i", whose capital it
 * has.
 */
export function foldCase(text: string): string {
  const lower = text.toLowerCase();
  if (!BEYOND_ASCII.test(lower)) return lower;
  return lower
    .split('ı')
    .map((part) => part.toUpperCase().toLowerCase())
    .join('ı');
}

/** A text without the differences that do not count. */
export function normalizeText(
  text: string,
  { ignoreCase, ignoreSpace, ignoreWidth }: Normalization,
): string {
  let result = text;
  if (BEYOND_ASCII.test(result)) {
    if (ignoreWidth) result = result.normalize('NFKC');
    if (ignoreSpace) result = result.replace(INVISIBLE, '');
    if (ignoreCase) result = foldCase(result);
    // A capital may be a letter and a mark that are one small letter.
    if (ignoreCase && ignoreWidth) result = result.normalize('NFKC');
  } else if (ignoreCase) result = result.toLowerCase();
  if (ignoreSpace && ODD_SPACE.test(result)) result = result.replace(SPACES, ' ').trim();
  return result;
}
