import type { Verdict } from '../qualityCheck.js';

/** Questions that such a word may answer. */
const CODE =
  /\b(?:code|javascript|js|typescript|python|pandas|numpy|console|print|output|type|float)\b/i;
const SIGNS =
  /\b(?:operator|dots|ellipsis|spread|rest|symbol|punctuation|sign|pass|python)\b|…|\.\.\./i;
const DUMMY = /\b(?:dummy|filler|placeholder|latin|typesetting|html|attribute)\b/i;
const TASKS =
  /\b(?:to-?do|tbd|tba|fixme|abbreviat\w*|acronym|tags?|comments?|stands? for|short for)\b/i;

/** Answers that are nothing but a word that stands for one, and questions that ask for it. */
const EMPTY_WORDS: ReadonlyMap<string, RegExp | null> = new Map([
  ['todo', TASKS],
  ['tbd', TASKS],
  ['tba', TASKS],
  ['fixme', TASKS],
  ['xxx', /\b(?:roman|numerals?|thirty)\b|\b30\b/i],
  ['...', SIGNS],
  ['…', SIGNS],
  ['<noinput>', null],
  ['<nooutput>', null],
  ['nan', CODE],
  ['undefined', CODE],
  ['[object object]', CODE],
  ['placeholder', DUMMY],
  ['lorem ipsum', DUMMY],
  ['your answer here', null],
  ['insert answer here', null],
  ['answer goes here', null],
]);

/** "[insert name]", "<your answer>", "[your response here]", "{{answer}}" */
const SLOT =
  /[[<{]{1,2} ?(?:(?:please )?(?:insert|enter|add|fill in|type|write|put) [\w' ,-]{1,60}|(?:your|the) (?:answer|response|output|text|completion)(?: here)?|(?:answer|response|output|text|content)(?: goes)? here) ?[\]>}]{1,2}/i;

/** An answer that is one slot: in a longer one "<answer>" is a tag. */
const ONE_SLOT = /^[[<{]{1,2} ?(?:answer|response|placeholder) ?[\]>}]{1,2}$/i;

/** Slots of letters and forms, which a template has for good: "[Your Name]". */
const FORM_SLOT =
  /\[(?:your|my|recipient'?s?|company|date|name|client'?s?|customer'?s?)(?: [\w' ]{1,40})?\]/i;

/** Questions that ask for something with slots. */
const ASKS_FOR_FORM =
  /\b(?:template|letter|e-?mail|form|resume|cv|contract|draft|invitation|script|message|memo|notice|announcement|post|speech|blanks?|placeholders?|format|example|sample|review|profile|bio|press release)\b/i;

const TODO_LINE = /^[ \t]*(?:TODO|TBD|FIXME)\b[ \t]*(?:[:.!-].{0,200})?$/m;

/** What stands in an answer for something that nobody wrote. */
export function placeholderIn(
  prose: string,
  answer: string,
  prompt: string | null,
): Verdict | null {
  const whole = answer.trim();
  const reason = 'placeholder';
  if (whole.length <= 40) {
    const bare = whole.toLowerCase().replace(/^[[<{("']+|[\]>})"'.:!]+$/g, '');
    const asked = EMPTY_WORDS.get(whole.toLowerCase()) ?? EMPTY_WORDS.get(bare);
    const isAsked = prompt !== null && asked?.test(prompt);
    if (ONE_SLOT.test(whole) || (asked !== undefined && !isAsked))
      return { score: 0, reason, detail: `the answer is "${whole}"` };
  }
  const found = /[[<{]/.test(prose) ? (SLOT.exec(prose)?.[0] ?? null) : null;
  if (found !== null) {
    const isWhole = found.length >= whole.length - 2;
    const isMeant = !isWhole && prompt !== null && ASKS_FOR_FORM.test(prompt.slice(0, 2000));
    return { score: isWhole ? 0 : isMeant ? 0.7 : 0.3, reason, detail: found };
  }
  if (/TODO|TBD|FIXME/.test(prose)) {
    const line = TODO_LINE.exec(prose)?.[0].trim();
    const isMeant = prompt !== null && (TASKS.test(prompt) || ASKS_FOR_FORM.test(prompt));
    if (line !== undefined)
      return { score: isMeant ? 0.7 : 0.3, reason, detail: line.slice(0, 60) };
  }
  const slot = prose.includes('[') ? (FORM_SLOT.exec(prose)?.[0] ?? null) : null;
  return slot === null ? null : { score: 0.8, reason, detail: slot };
}
