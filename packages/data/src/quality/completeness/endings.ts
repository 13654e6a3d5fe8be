/** Marks that end a sentence, in the scripts that have them. */
const ENDS = new Set('.!?…。！？｡．؟۔।॥።፧።၊။៕៖།՝։⁇⁈⁉‼;;；'.split(''));
/** Marks that may follow the end of a sentence. */
const CLOSERS = new Set('"\'”’»«“„‘)]}）】」』》〉］｝*_~`>|'.split(''));

/** Marks after which more has to come. */
const CONTINUES = new Set(',、，،:：;–—([{（「『«„'.split(''));

/** Scripts whose sentences have no mark at their end. */
const UNMARKED =
  /[\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}\p{Script=Tibetan}]/u;

/** Endings of Japanese sentences that are often written without a full stop. */
const JAPANESE_ENDS =
  /(?:です|ます|ました|ません|でした|ください|だ|である|た|い|う|る|ね|よ|か|な)$/;

/** Words behind which another one comes: English, German, French, Spanish, Italian, Dutch. */
const OPEN_WORDS = new Set(
  (
    'the an and or because which whose from into than their our your my its of if although whereas ' +
    'unless whether between during toward towards every is are was were ' +
    'der die das den dem des ein eine einen einem einer und oder weil dass sowie ' +
    'le la les un une des du et ou parce avec pour dans sur ' +
    'el los las unos unas porque con para del ' +
    'il gli uno perché per della delle ' +
    'umas com ' +
    'het een en omdat'
  ).split(' '),
);

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
  if (quoted === 0 && CONTINUES.has(end))
    return { score: 0.2, detail: `ends in "${tailOf(bare)}"` };
  if (quoted === 0 && end === '-' && /\p{L}-$/u.test(bare))
    return { score: 0.2, detail: `ends within a word: "${tailOf(bare)}"` };
  if (!/[\p{L}\p{M}]$/u.test(bare)) return WHOLE;
  const word = words.at(-1)!.toLowerCase();
  if (quoted === 0 && OPEN_WORDS.has(word) && isMidSentence(words))
    return { score: 0.2, detail: `ends in "${tailOf(bare)}"` };
  if (quoted === 0 && hasSentences(text, last) && !isAside(last, words))
    return { score: 0.4, detail: `the last sentence has no end: "${tailOf(bare)}"` };
  return WHOLE;
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
  const isAfterSentences = /[。！？]/.test(before) || /[。！？]/.test(bare);
  if (/(?:を|には|では|という)$/.test(bare) && bare.length >= 8)
    return { score: 0.3, detail: `ends in "${tailOf(bare)}"` };
  const rest = bare.slice(
    Math.max(...['。', '！', '？'].map((mark) => bare.lastIndexOf(mark))) + 1,
  );
  if (!isAfterSentences || rest.length < 6 || JAPANESE_ENDS.test(bare)) return WHOLE;
  return { score: 0.4, detail: `the last sentence has no end: "${tailOf(rest)}"` };
}

/** "the answer is the" is cut off; "option a" and "the word the" are not. */
const isMidSentence = (words: readonly string[]): boolean =>
  !/^(?:word|words|article|conjunction|preposition|option|choice|token|string)$/i.test(
    words.at(-2) ?? '',
  );

/** Whether sentences with an end stand before the last one. */
function hasSentences(text: string, last: string): boolean {
  const before = text.slice(0, text.length - last.length);
  return /[\p{L}\p{M}\d)"”][.!?]["”)]*\s/u.test(`${before.slice(-600)}${last}`);
}

/** "The answer is Paris": what follows is a name or a value, often without a full stop. */
const RESULT =
  /\b(?:answer|result|solution|total|output|option|choice|sum|value|name|title)\b.{0,40}\b(?:is|are|be|was|called)\s+\S+(?:\s+\S+){0,2}$/i;

/** A line of its own that is no sentence: a title, a signature, a name, a key and its value. */
function isAside(last: string, words: readonly string[]): boolean {
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
