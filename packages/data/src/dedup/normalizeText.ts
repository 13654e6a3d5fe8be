import { z } from 'zod';

/** Which differences between two texts do not count. */
export const normalizationShape = {
  /** "Hello" equals "hello". Default true. */
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
/** White space that is not one space between two words. */
const ODD_SPACE = /[^\S ]|\s\s|^\s|\s$/;

/** A text without the differences that do not count. */
export function normalizeText(
  text: string,
  { ignoreCase, ignoreSpace, ignoreWidth }: Normalization,
): string {
  let result = text;
  if (BEYOND_ASCII.test(result)) {
    if (ignoreWidth) result = result.normalize('NFKC');
    if (ignoreSpace) result = result.replace(INVISIBLE, '');
  }
  if (ignoreCase) result = result.toLowerCase();
  if (ignoreSpace && ODD_SPACE.test(result)) result = result.replace(/\s+/g, ' ').trim();
  return result;
}
