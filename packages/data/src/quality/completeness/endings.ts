import { voteByWords } from '../language/functionWords.js';

/** Marks that end a sentence, in the scripts that have them. */
const ENDS = new Set('.!?…。！？｡．؟۔।॥።፧።၊။៕៖།՝։⁇⁈⁉‼;;；'.split(''));
/** Marks that may follow the end of a sentence. */
const CLOSERS = new Set('"\'”’»«“„‘)]}）】」』》〉］｝*_~`>|'.split(''));

/** Marks after which more has to come. */
const CONTINUES = new Set(',、，،:：;–—([{（「『«„'.split(''));

/** Scripts whose sentences have no mark at their end. */
const UNMARKED =
  /[\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}\p{Script=Tibetan}]/u;

/** Endings of Japanese and Chinese sentences that are often written without a full stop. */
const UNMARKED_ENDS =
  /(?:です|ます|ました|ません|でした|ください|だ|である|た|い|う|る|ね|よ|か|な|吧|吗|呢|啊|呀|啦|哦|嘛)$/;

/** Words behind which another one comes, by the language of the text. */
const OPEN_WORDS = bySet({
  en: 'the an and or because their our your my although whereas unless every',
  de: 'der die den dem des ein eine einen einem einer und weil dass sowie',
  fr: 'le la les un une des du et ou parce avec pour dans sur',
  es: 'el la los las un una unos unas porque con para del y',
  it: 'il gli lo uno una perché per della delle e',
  pt: 'os as um uma umas com e',
  nl: 'de een en omdat',
});
/** Words that end a sentence now and then: "where they are", "made of". */
const OPENING_WORDS = bySet({
  en: 'whose which from into than its of if whether between during toward towards is are was were to for with by at as that',
  de: 'das oder',
});

/** A clause that has begun: "France, which". */
const JOINED = /,\s+(?:which|who|whose|where|but|so|und|aber|weil|mais|pero)$/i;

/** Words of one script: no other language has them. */
const OPEN_IN_SCRIPT = new Set(
  'и в на с для от к из о об при без или чтобы потому і з що щоб في على من إلى عن أو التي الذي'.split(
    ' ',
  ),
);

function bySet(words: Readonly<Record<string, string>>): Readonly<Record<string, Set<string>>> {
  return Object.fromEntries(
    Object.entries(words).map(([language, list]) => [language, new Set(list.split(' '))]),
  );
}

const SMILEY = /[:;=8][-'^]?[()[\]DPpOo/\\|*3]$/;

/** How a text ends. */
export interface Ending {
  /** From 0 to 1: how sure it is that the text is whole. */
  readonly score: number;
  readonly detail?: string;
}

const WHOLE: Ending = { score: 1 };

/** Characters of the end that are looked at. */
const TAIL = 2000;
/** Words of a last line that tell a sentence from a name, a title or a signature. */
const SENTENCE_WORDS = 4;
/** Sentences with an end from which on the last one is thought to want its end, too. */
const SURE_SENTENCES = 2;
/** In a text of so many words one is enough. */
const LONG_TEXT = 40;

/**
 * How a text ends: whole, or within a sentence. Only prose can be cut off in this sense; code,
 * lists of short items, addresses, formulas, numbers and emoji end as they like.
 */
export function endingOf(prose: string): Ending {
  const text = prose.slice(-TAIL).trimEnd();
  if (text === '') return WHOLE;
  const last = lastLine(text);
  const bare = withoutClosers(last);
  if (bare === '') return WHOLE;
  const end = lastCharacter(bare);
  if (ENDS.has(end) && end !== ';') return WHOLE;
  if (!isProse(last)) return WHOLE;
  const quoted = last.length - bare.length;
  if (quoted === 0 && SMILEY.test(bare)) return WHOLE;
  if (isCjk(end)) return cjkEnding(text, bare, end);
  if (UNMARKED.test(end)) return WHOLE;
  const words = bare.split(/\s+/);
  if (words.length < SENTENCE_WORDS) return WHOLE;
  if (quoted === 0 && isBeginning(bare)) return { score: 0.3, detail: `ends in "${tailOf(bare)}"` };
  if (quoted === 0 && CONTINUES.has(end)) {
    const isVerse = end === ',' && linesEnding(text, /,$/);
    return { score: isVerse ? 0.6 : 0.2, detail: `ends in "${tailOf(bare)}"` };
  }
  if (quoted === 0 && end === '-' && /\p{L}-$/u.test(bare))
    return { score: 0.2, detail: `ends within a word: "${tailOf(bare)}"` };
  if (!/[\p{L}\p{M}]$/u.test(bare)) return WHOLE;
  const sentences = sentencesIn(text, last);
  const word = words.at(-1)!.toLowerCase();
  const language = voteByWords(wordsOf(bare).slice(0, -1))?.language ?? '';
  if (quoted === 0 && !SPEAKS_OF_WORDS.test(bare)) {
    const detail = `ends in "${tailOf(bare)}"`;
    if (JOINED.test(bare) || OPEN_IN_SCRIPT.has(word) || OPEN_WORDS[language]?.has(word))
      return { score: 0.2, detail };
    if (OPENING_WORDS[language]?.has(word)) return { score: sentences > 0 ? 0.4 : 0.6, detail };
  }
  if (quoted > 0 || sentences === 0 || isAside(last, words) || isUnmarked(text)) return WHOLE;
  const detail = `the last sentence has no end: "${tailOf(bare)}"`;
  const isSure =
    sentences >= SURE_SENTENCES || (sentences === 1 && text.split(/\s+/).length >= LONG_TEXT);
  return { score: isSure ? 0.4 : 0.6, detail };
}

/** Whether a text ends in prose that has no mark of an end: not in code, nor in an item. */
export function endsOpen(prose: string): boolean {
  const last = lastLine(prose.slice(-TAIL).trimEnd());
  return isProse(last) && !ENDS.has(lastCharacter(withoutClosers(last)));
}

const tailOf = (text: string): string => (text.length > 40 ? `...${text.slice(-40)}` : text);

const lastLine = (text: string): string => text.slice(text.lastIndexOf('\n') + 1).trim();

/** The last character, surrogates taken together. */
const lastCharacter = (text: string): string => {
  const code = text.codePointAt(text.length - 2);
  return code !== undefined && code > 0xffff ? String.fromCodePoint(code) : text.slice(-1);
};

function withoutClosers(line: string): string {
  let end = line.length;
  while (end > 0 && (CLOSERS.has(line[end - 1]!) || line[end - 1] === ' ')) end--;
  return line.slice(0, end);
}

/** Characters that prose in a line does not have, and code, commands and formulas do. */
const CODE = /[${}<>|\\=;@#^]|(?:^|\s)--?[a-zA-Z]|\/\S*\/|\w\(|::|https?:/;
/** Lines of Markdown that end as they like: headings, tables, items, rules. */
const MARKED_LINE = /^(?:#{1,6}\s|\||>|[-*+•]\s|\d{1,3}[.)]\s|[A-Za-z][.)]\s|-{3}|\*{3})/;

function isProse(line: string): boolean {
  if (CODE.test(line) || MARKED_LINE.test(line)) return false;
  const letters = line.match(/[\p{L}\p{M}\s]/gu)?.length ?? 0;
  return letters >= 0.8 * line.length;
}

const CJK = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}ー、，：；（「『]/u;
const isCjk = (character: string): boolean => CJK.test(character);

function cjkEnding(text: string, bare: string, end: string): Ending {
  if (bare.length < 6) return WHOLE;
  if (CONTINUES.has(end)) return { score: 0.2, detail: `ends in "${tailOf(bare)}"` };
  const before = text.slice(0, text.length - bare.length);
  const sentences = `${before}${bare}`.match(/[。！？]/g)?.length ?? 0;
  if (/(?:を|には|では|という)$/.test(bare))
    return { score: 0.3, detail: `ends in "${tailOf(bare)}"` };
  const rest = bare.slice(
    Math.max(...['。', '！', '？'].map((mark) => bare.lastIndexOf(mark))) + 1,
  );
  if (sentences === 0 || rest.length < 6 || UNMARKED_ENDS.test(bare) || isUnmarked(text))
    return WHOLE;
  const detail = `the last sentence has no end: "${tailOf(rest)}"`;
  return { score: sentences >= SURE_SENTENCES ? 0.4 : 0.6, detail };
}

/** "The most common word is the": a word of a language may end what is said about it. */
const SPEAKS_OF_WORDS =
  /\b(?:words?|articles?|artikel|conjunctions?|prepositions?|pronouns?|option|choice|token|string|mot|palabra|wort)\b/i;

const wordsOf = (text: string): string[] => text.toLowerCase().match(/[\p{L}\p{M}]+/gu) ?? [];

/** How many sentences with an end stand before the last one. */
function sentencesIn(text: string, last: string): number {
  const before = text.slice(0, text.length - last.length);
  return (
    `${before.slice(-600)}${last}`.match(/[\p{L}\p{M}\d)"”][.!?…؟।]["”)]*\s+(?!\p{Ll})/gu)
      ?.length ?? 0
  );
}

/** Whether lines before the last one end without a mark, too: a poem, a song, a chat. */
const isUnmarked = (text: string): boolean => linesEnding(text, /[\p{L}\p{M}]$/u);

/** Whether half of the lines of prose before the last one, or more, have such an end. */
function linesEnding(text: string, end: RegExp): boolean {
  const lines = text.split('\n').map((line) => line.trim());
  const before = lines.slice(0, -1).filter((line) => line !== '' && isProse(line));
  const alike = before.filter((line) => end.test(line));
  return alike.length > 0 && 2 * alike.length >= before.length;
}

/** "The answer is Paris": what follows is a name or a value, often without a full stop. */
const RESULT =
  /\b(?:answer|result|solution|total|output|option|choice|sum|value|name|title)\b.{0,40}\b(?:is|are|be|was|called)\s+\S+(?:\s+\S+){0,2}$/i;

/** A line of its own that is no sentence: speech, a title, a signature, a name, a key and value. */
function isAside(last: string, words: readonly string[]): boolean {
  if (/^[—–]\s/.test(last)) return true;
  const sentence = lastSentence(last);
  const own = sentence.split(/\s+/).filter((word) => word !== '');
  if (own.length < SENTENCE_WORDS) return true;
  if (/[:：]/.test(sentence) || RESULT.test(sentence)) return true;
  const capitals = own.filter((word) => /^["'“‘(]*[\p{Lu}\d]/u.test(word)).length;
  if (capitals >= 0.6 * own.length) return true;
  return /^(?:\p{Lu}|\p{Lu}{2,5})$/u.test(words.at(-1)!);
}

/** Words that a sentence begins with, and hardly ends with. */
const BEGINNINGS = new Set(
  'she he they it we i the her his their its our my this these those but and so when how if what why there in at on to'.split(
    ' ',
  ),
);

/** Whether the line has a whole sentence and then the first words of another one: "... . She". */
function isBeginning(bare: string): boolean {
  const sentence = lastSentence(bare);
  if (sentence === bare) return false;
  const own = sentence.trim().toLowerCase().split(/\s+/);
  return own.length < SENTENCE_WORDS && BEGINNINGS.has(own.at(-1)!);
}

/** What stands behind the last end of a sentence in a line. */
function lastSentence(line: string): string {
  for (let at = line.length - 1; at > 0; at--)
    if (
      /\s/.test(line[at]!) &&
      ENDS.has(withoutClosers(line.slice(Math.max(0, at - 4), at)).slice(-1))
    )
      return line.slice(at + 1);
  return line;
}
