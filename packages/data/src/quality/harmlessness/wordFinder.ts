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
  /** Whether a word of the list begins with three units of UTF-16, by a hash of them. */
  readonly #mayBegin = new Uint8Array(UNITS);
  /** What units of UTF-16 are, as far as texts had them. */
  readonly #kinds = new Uint8Array(UNITS);

  constructor(phrases: readonly string[]) {
    for (const phrase of phrases) {
      const words = wordsOf(phrase);
      if (words.length === 0) continue;
      const [first] = words as [string];
      this.#mayBegin[this.#beginAt(first, 0, first.charCodeAt(0))] = 1;
      const known = this.#byFirst.get(first);
      if (known) known.push(words);
      else this.#byFirst.set(first, [words]);
    }
  }

  /** Words are those of {@link WORD}; only such that may be meant are cut out. */
  find(text: string): string | null {
    if (this.#byFirst.size === 0) return null;
    let isInWord = false;
    // An apostrophe or a hyphen belongs to a word where a letter follows.
    let isBehindJoint = false;
    const kinds = this.#kinds;
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      const kind = kinds[code]!;
      if (kind === 0 ? !this.#isOfWord(text, i, code) : kind === OTHER_UNIT) {
        isBehindJoint = isInWord && isJoint(code);
        isInWord = false;
        continue;
      }
      if (!isInWord && !isBehindJoint && this.#mayBegin[this.#beginAt(text, i, code)] === 1) {
        WORD_AT.lastIndex = i;
        const word = WORD_AT.exec(text)?.[0] ?? '';
        const found = this.#at(text, word, i + word.length);
        if (found !== null) return found;
      }
      isInWord = true;
    }
    return null;
  }

  /** A hash of the first units of the word at a place. */
  #beginAt(text: string, at: number, first: number): number {
    const second = this.#unitOfWord(text, at + 1);
    const third = second === 0 ? 0 : this.#unitOfWord(text, at + 2);
    return (31 * (31 * first + second) + third) & (UNITS - 1);
  }

  /** A unit of a word; 0: another one, or the end. */
  #unitOfWord(text: string, at: number): number {
    if (at >= text.length) return 0;
    const code = text.charCodeAt(at);
    return this.#isOfWord(text, at, code) ? code : 0;
  }

  /** Whether a unit is of a letter, a mark, a digit or "_". */
  #isOfWord(text: string, at: number, code: number): boolean {
    const known = this.#kinds[code];
    if (known !== 0) return known === WORD_UNIT;
    if (code >= 0xd800 && code < 0xe000) {
      // Half of a pair alone says nothing.
      const first = code >= 0xdc00 ? at - 1 : at;
      return WORD_CHARACTER.test(String.fromCodePoint(text.codePointAt(Math.max(0, first))!));
    }
    const isWord = WORD_CHARACTER.test(text[at]!);
    this.#kinds[code] = isWord ? WORD_UNIT : OTHER_UNIT;
    return isWord;
  }

  /** The phrase that begins with a word and goes on behind it. */
  #at(text: string, word: string, end: number): string | null {
    for (const phrase of this.#byFirst.get(word) ?? [])
      if (phrase.length === 1 || this.#follows(text, end, phrase)) return phrase.join(' ');
    return null;
  }

  #follows(text: string, from: number, phrase: readonly string[]): boolean {
    let next = 1;
    for (const [word] of text.slice(from, from + 64 * phrase.length).matchAll(WORD)) {
      if (word !== phrase[next]) return false;
      if (++next === phrase.length) return true;
    }
    return false;
  }
}

/** Letters, digits and the apostrophes and hyphens within a word. */
const WORD = /[\p{L}\p{M}\p{N}_]+(?:['-][\p{L}\p{M}\p{N}_]+)*/gu;
const wordsOf = (text: string): string[] => text.match(WORD) ?? [];

const WORD_AT = new RegExp(WORD.source, 'uy');
const WORD_CHARACTER = /[\p{L}\p{M}\p{N}_]/u;

/** Units of UTF-16 there are. */
const UNITS = 2 ** 16;
const WORD_UNIT = 1;
const OTHER_UNIT = 2;
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
