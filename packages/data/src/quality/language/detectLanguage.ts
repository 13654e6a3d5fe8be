import { detectAll } from 'tinyld';
import { readFences } from '../text/fences.js';
import { voteByWords } from './functionWords.js';

/** The language of a text. */
export interface DetectedLanguage {
  /** ISO 639-1, "en"; "und" where the text is too short or no language leads. */
  readonly language: string;
  /** From 0 to 1. For "und" it is 0. */
  readonly confidence: number;
}

const UNKNOWN: DetectedLanguage = { language: 'und', confidence: 0 };

/** Letters of a text that are looked at: more of them make it slower and hardly surer. */
const LETTERS = 240;
/** Letters, at least, in scripts that many languages share. */
const LEAST_LETTERS = 12;

/** Letters from which on sequences of letters alone tell a language in Latin script. */
const SURE_LETTERS = 80;
/** Different words, at least, where none of them is a function word. */
const LEAST_WORDS = 5;
/** The share of function words among all from which on they tell the language. */
const SURE_SHARE = 0.12;
/** Votes of function words that are needed beside sequences of letters. */
const LEAST_VOTES = 0.6;
/** Languages in Latin script that are told by their letters: those that many people write. */
const LATIN =
  'en de fr es it pt nl sv da no fi is pl cs sk hu ro lt lv et sr tr vi id tl ga af'.split(' ');

/** What every script but Latin has: Greek and all behind it, without punctuation. */
const BEYOND_LATIN = /[\u0370-\u1fff\u2e80-\uffdc]/;

/** Scripts that one language writes, or nearly so: a few letters tell. */
const OWN_SCRIPTS: readonly (readonly [language: string, shape: RegExp])[] = [
  ['ja', /[\p{Script=Hiragana}\p{Script=Katakana}]/gu],
  ['ko', /\p{Script=Hangul}/gu],
  ['th', /\p{Script=Thai}/gu],
  ['el', /\p{Script=Greek}/gu],
  ['he', /\p{Script=Hebrew}/gu],
  ['hy', /\p{Script=Armenian}/gu],
  ['ka', /\p{Script=Georgian}/gu],
  ['ta', /\p{Script=Tamil}/gu],
  ['te', /\p{Script=Telugu}/gu],
  ['kn', /\p{Script=Kannada}/gu],
  ['gu', /\p{Script=Gujarati}/gu],
  ['bn', /\p{Script=Bengali}/gu],
  ['km', /\p{Script=Khmer}/gu],
  ['my', /\p{Script=Myanmar}/gu],
  ['zh', /\p{Script=Han}/gu],
];

/**
 * The language of a text after code, addresses, markup and formulas are taken out: by its script,
 * by function words of 18 languages, else by sequences of letters (tinyld). Texts under 12 letters
 * are "und", unless their script tells: Japanese, Korean, Chinese, Greek, Thai and others.
 *
 * @example detectLanguage('Der Hund schläft unter dem Tisch.').language // 'de'
 */
export function detectLanguage(text: string): DetectedLanguage {
  const plain = plainText(text);
  const letters = plain.match(/[\p{L}\p{M}]/gu)?.length ?? 0;
  if (letters === 0) return UNKNOWN;
  for (const [language, shape] of BEYOND_LATIN.test(plain) ? OWN_SCRIPTS : []) {
    const own = plain.match(shape)?.length ?? 0;
    // Japanese is written with Chinese characters, too: a fifth of kana tells.
    if (own >= (language === 'ja' ? 0.2 : 0.5) * letters && own > 0)
      return { language, confidence: language === 'ja' ? 1 : own / letters };
  }
  if (letters < LEAST_LETTERS) return UNKNOWN;
  const words = [...new Set(plain.toLowerCase().match(/[\p{L}\p{M}]+/gu))];
  const vote = voteByWords(words);
  if (vote !== null && vote.votes >= Math.max(1.5, SURE_SHARE * words.length) && vote.share > 0.5)
    return { language: vote.language, confidence: vote.share };
  const isLatin = /\p{Script=Latin}/u.test(plain);
  // Names, commands and lists of words look like any language that is written in Latin letters.
  const mayBack = vote !== null && vote.votes >= LEAST_VOTES;
  if (isLatin && !mayBack && (letters < SURE_LETTERS || words.length < LEAST_WORDS)) return UNKNOWN;
  const [first, second] = detectAll(plain, { only: isLatin ? LATIN : [] });
  if (first === undefined) return UNKNOWN;
  const lead = first.accuracy / (first.accuracy + (second?.accuracy ?? 0));
  const isBacked = mayBack && vote.language === first.lang;
  if (isLatin && !isBacked && (letters < SURE_LETTERS || lead < 0.8)) return UNKNOWN;
  return { language: first.lang, confidence: lead };
}

/** Characters from which the letters are taken: the second where the first has too few. */
const WINDOWS = [1000, 4000];

/** Addresses, paths, names of files, options and signs of code. */
const NO_WORD = /https?:|www\.|@|\/.*\/|[\\={}_|#$<>]|\w\.\w{1,4}["'”)]*$|^--?\w|^\/\w/;

/** Words of a language in a text: without blocks of code, addresses, tags, formulas, commands. */
function plainText(text: string): string {
  let plain = '';
  for (const window of WINDOWS) {
    plain = plainWindow(text.slice(0, window));
    // What a window cuts in two is at its end.
    if (plain.length >= 2 * LETTERS || text.length <= window) break;
  }
  if (plain.length <= LETTERS) return plain;
  const end = plain.lastIndexOf(' ', LETTERS);
  return plain.slice(0, end > LETTERS / 2 ? end : LETTERS);
}

const plainWindow = (text: string): string =>
  readFences(text)
    .prose.replace(/`[^`\n]{1,200}`/g, ' ')
    .replace(/\$\$?[^$\n]{1,200}\$\$?/g, ' ')
    .replace(/<\/?[a-zA-Z][^<>\n]{0,200}>/g, ' ')
    .replace(/\\[a-zA-Z]{2,20}/g, ' ')
    .split(/\s+/)
    .filter((word) => !NO_WORD.test(word))
    .join(' ')
    .replace(/[\p{N}\p{S}*#>|[\]()]+/gu, ' ')
    .replace(/\s+/g, ' ')
    .trim();
