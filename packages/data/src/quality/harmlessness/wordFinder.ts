/** Words of a list in texts, at the borders of words. */
export interface WordFinder {
  /** The first word of the list in a text, as the list has it. null: none. */
  find(text: string): string | null;
}

/** How texts are compared with a list. */
export interface WordFinderOptions {
  /** Whether "f.u.c.k", "k1ll" and letters that look alike are read as the word. */
  readonly isObfuscated: boolean;
}

/** Scripts that are written without spaces: a dictionary says where words begin. */
const UNSPACED =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]/u;

/** Finds words of a list. Case, width and composed letters do not matter. */
export function wordFinder(
  words: readonly string[],
  { isObfuscated }: WordFinderOptions,
): WordFinder {
  const plain = words.map(normalised).filter((word) => word !== '');
  const spaced = new PhraseTable(plain.filter((word) => !UNSPACED.test(word)));
  const unspaced = plain.filter((word) => UNSPACED.test(word));
  const plainer = isObfuscated ? new PhraseTable(plain.map(unmasked)) : null;
  return {
    find(text) {
      const read = normalised(text);
      const found = spaced.find(read) ?? findUnspaced(read, unspaced);
      if (found !== null || plainer === null) return found;
      return plainer.find(unmasked(read)) ?? plainer.find(unmasked(joined(read)));
    },
  };
}

/** ASCII is its own normal form: most texts need no more than lower case. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: the range is ASCII.
const ASCII = /^[\x00-\x7f]*$/;

const normalised = (text: string): string =>
  ASCII.test(text)
    ? text.toLowerCase()
    : text
        .normalize('NFKC')
        .toLowerCase()
        .replaceAll('’', "'")
        .replace(/[\u00ad\u200b-\u200d\u2060\ufeff]/g, '');

/** Words and phrases by their first word: each word of a text is looked up once. */
class PhraseTable {
  readonly #byFirst = new Map<string, string[][]>();
  /** Whether a word of the list begins with a character of ASCII. */
  readonly #mayBegin = new Uint8Array(128);

  constructor(phrases: readonly string[]) {
    for (const phrase of phrases) {
      const words = wordsOf(phrase);
      if (words.length === 0) continue;
      const begin = words[0]!.charCodeAt(0);
      if (begin < 128) this.#mayBegin[begin] = 1;
      const known = this.#byFirst.get(words[0]!);
      if (known) known.push(words);
      else this.#byFirst.set(words[0]!, [words]);
    }
  }

  find(text: string): string | null {
    if (this.#byFirst.size === 0) return null;
    return ASCII.test(text) ? this.#findAscii(text) : this.#findAny(text);
  }

  #findAny(text: string): string | null {
    for (const { 0: word, index } of text.matchAll(WORD)) {
      const found = this.#at(text, word, index + word.length);
      if (found !== null) return found;
    }
    return null;
  }

  /** The same for lower case ASCII, as most texts are: only words that may be meant are cut out. */
  #findAscii(text: string): string | null {
    for (let i = 0; i < text.length; ) {
      if (!isWordCode(text.charCodeAt(i))) {
        i++;
        continue;
      }
      const start = i;
      // An apostrophe or a hyphen belongs to a word where a letter follows.
      do i++;
      while (
        isWordCode(text.charCodeAt(i)) ||
        (isJoint(text.charCodeAt(i)) && isWordCode(text.charCodeAt(i + 1)))
      );
      if (this.#mayBegin[text.charCodeAt(start)] !== 1) continue;
      const found = this.#at(text, text.slice(start, i), i);
      if (found !== null) return found;
    }
    return null;
  }

  /** The phrase that begins with a word and goes on behind it. */
  #at(text: string, word: string, end: number): string | null {
    for (const phrase of this.#byFirst.get(word) ?? [])
      if (phrase.length === 1 || this.#follows(text, end, phrase)) return phrase.join(' ');
    return null;
  }

  #follows(text: string, from: number, phrase: readonly string[]): boolean {
    const rest = wordsOf(text.slice(from, from + 64 * phrase.length));
    return phrase.slice(1).every((word, i) => rest[i] === word);
  }
}

/** Letters, digits and the apostrophes and hyphens within a word. */
const WORD = /[\p{L}\p{M}\p{N}_]+(?:['-][\p{L}\p{M}\p{N}_]+)*/gu;
const wordsOf = (text: string): string[] => text.match(WORD) ?? [];

/** A lower case letter, a digit or "_". */
const isWordCode = (code: number): boolean =>
  (code >= 97 && code <= 122) || (code >= 48 && code <= 57) || code === 95;
const isJoint = (code: number): boolean => code === 39 || code === 45;

function findUnspaced(text: string, words: readonly string[]): string | null {
  for (const word of words) {
    let at = text.indexOf(word);
    for (let tries = 0; at >= 0 && tries < 100; tries++) {
      if (isAtBorders(text, at, at + word.length)) return word;
      at = text.indexOf(word, at + 1);
    }
  }
  return null;
}

/** Characters around a word in which its borders are looked for. */
const AROUND = 24;

/** Whether the words of a dictionary begin and end where a match does. */
function isAtBorders(text: string, start: number, end: number): boolean {
  const from = Math.max(0, start - AROUND);
  const piece = text.slice(from, end + AROUND);
  const borders = new Set([piece.length]);
  for (const { index } of new Intl.Segmenter('ja', { granularity: 'word' }).segment(piece))
    borders.add(index);
  return borders.has(start - from) && borders.has(end - from);
}

/** Letters that digits, signs and letters of other scripts stand for. */
const MASKS: Readonly<Record<string, string>> = {
  '0': 'o',
  '1': 'i',
  '3': 'e',
  '4': 'a',
  '5': 's',
  '7': 't',
  '8': 'b',
  '@': 'a',
  $: 's',
  '!': 'i',
  '€': 'e',
  '|': 'i',
  а: 'a',
  е: 'e',
  о: 'o',
  р: 'p',
  с: 'c',
  у: 'y',
  х: 'x',
  і: 'i',
  ѕ: 's',
  ԁ: 'd',
  ɡ: 'g',
  α: 'a',
  ο: 'o',
  ι: 'i',
  ν: 'v',
};
const MASK = /[013457 8@$!€|аеорсухіѕԁɡαοιν]/g;

/** Without masks, and without letters that come more than twice. */
const unmasked = (text: string): string =>
  text.replace(MASK, (c) => MASKS[c] ?? c).replace(/(\p{L})\1{2,}/gu, '$1');

/** "f.u.c.k", "f u c k": single letters between equal signs are one word. */
const joined = (text: string): string =>
  text.replace(
    /(?<![\p{L}\p{N}])[\p{L}\p{N}@$](?:([.\-_* ])[\p{L}\p{N}@$!](?:\1[\p{L}\p{N}@$!])*)(?![\p{L}\p{N}])/gu,
    (run) => run.replace(/[.\-_* ]/g, ''),
  );
