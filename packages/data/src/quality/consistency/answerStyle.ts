import { mayHaveFences } from '../text/fences.js';

/** A side of how an answer is written; answers of one kind of question mostly agree in it. */
export const STYLE_SIDES = ['format', 'tag', 'script'] as const;

/** How an answer is written. */
export type AnswerStyle = Readonly<Record<(typeof STYLE_SIDES)[number], string>>;

/** What an answer may end with to mark its result. */
const TAGS: readonly (readonly [name: string, shape: RegExp])[] = [
  ['"#### ..."', /^####\s/m],
  ['"\\boxed{...}"', /\\boxed\{/],
  ['"<answer>"', /<answer>/],
  ['"Answer: ..."', /(?:^|\n)\s*\**(?:final )?answer(?: is)?\**\s*[:=]/i],
];

/** Characters of the end in which a tag is looked for. */
const TAIL = 400;

/** How an answer is written: its format, the tag of its result, its script. */
export function answerStyle(answer: string): AnswerStyle {
  const text = answer.trim();
  return {
    format: formatOf(text),
    tag: TAGS.find(([, shape]) => shape.test(text.slice(-TAIL)))?.[0] ?? 'none',
    script: scriptOf(text.slice(0, 400)),
  };
}

/** Questions that ask for an answer of such a format. */
const ASKS_FOR: Readonly<Record<string, RegExp>> = {
  JSON: /\bjson\b/i,
  XML: /\b(?:xml|html|svg)\b/i,
  'code block':
    /\b(?:code|function|script|program|class|method|query|command|regex|snippet|implement|javascript|typescript|python|sql)\b/i,
  table: /\b(?:table|tabular|columns?|markdown)\b/i,
  number:
    /\bhow (?:many|much|old|long|far|tall|big|fast)\b|\b(?:numbers?|calculate|compute|sum|count|percent\w*|year|solve|evaluate|value|round|average|digits?)\b|\d\s*[-+*/×÷^%]\s*\d/i,
};

/** Questions that ask for another language. */
const ASKS_FOR_LANGUAGE =
  /\b(?:translat\w*|chinese|japanese|russian|arabic|korean|hindi|ukrainian)\b/i;

/** Characters of the end of a prompt that are read. */
const ASKED = 2000;

/** Whether the question asks for what would else be odd. */
export function isAskedFor(side: keyof AnswerStyle, style: string, prompt: string): boolean {
  const asked = prompt.slice(-ASKED);
  if (side === 'format') return ASKS_FOR[style]?.test(asked) ?? false;
  if (side === 'tag') return /\bboxed|<answer>|\banswer:|####/i.test(asked);
  return ASKS_FOR_LANGUAGE.test(asked) || scriptOf(asked.slice(-400)) === style;
}

function formatOf(text: string): string {
  if (isJson(text)) return 'JSON';
  if (/^<(?:\?xml|!doctype|[a-z][\w-]{0,30}(?:\s[^>]{0,200})?>)/i.test(text) && text.endsWith('>'))
    return 'XML';
  if (mayHaveFences(text) && /^(?:```|~~~)/.test(text) && /(?:```|~~~)$/.test(text))
    return 'code block';
  if (/^\|.*\|\s*$/m.test(text) && /^\|[ :|-]+\|\s*$/m.test(text)) return 'table';
  if (/^[-+]?[$€£]?[\d.,]+ ?%?$/.test(text)) return 'number';
  return 'text';
}

/** Text that begins and ends as a JSON value with a structure does, and is one. */
function isJson(text: string): boolean {
  const isClosed =
    (text.startsWith('{') && text.endsWith('}')) || (text.startsWith('[') && text.endsWith(']'));
  if (!isClosed || text.length > 100_000) return false;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

const SCRIPTS: readonly (readonly [name: string, shape: RegExp])[] = [
  ['Chinese or Japanese', /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]/gu],
  ['Cyrillic', /\p{Script=Cyrillic}/gu],
  ['Arabic', /\p{Script=Arabic}/gu],
  ['Hangul', /\p{Script=Hangul}/gu],
  ['Devanagari', /\p{Script=Devanagari}/gu],
];

/** The script of most letters. */
function scriptOf(text: string): string {
  const latin = text.match(/\p{Script=Latin}/gu)?.length ?? 0;
  for (const [name, shape] of SCRIPTS) if ((text.match(shape)?.length ?? 0) > latin) return name;
  return 'Latin';
}
