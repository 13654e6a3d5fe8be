import type { Verdict } from '../qualityCheck.js';

/** Answers that are nothing but a word that stands for one. */
const EMPTY_WORDS = new Set([
  'todo',
  'tbd',
  'tba',
  'fixme',
  'xxx',
  '...',
  '…',
  '<noinput>',
  '<nooutput>',
  'nan',
  'undefined',
  '[object object]',
  'placeholder',
  'lorem ipsum',
  'your answer here',
  'insert answer here',
  'answer goes here',
]);

/** "[insert name]", "<your answer>", "[your response here]", "{{answer}}" */
const SLOT =
  /[[<{]{1,2} ?(?:(?:please )?(?:insert|enter|add|fill in|type|write|put) [\w' ,-]{1,60}|(?:your|the) (?:answer|response|output|text|completion)(?: here)?|(?:answer|response|output|text|content)(?: goes)? here|answer|response|placeholder) ?[\]>}]{1,2}/i;

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
    if (EMPTY_WORDS.has(whole.toLowerCase()) || EMPTY_WORDS.has(bare))
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
    if (line !== undefined) return { score: 0.3, reason, detail: line.slice(0, 60) };
  }
  const slot = prose.includes('[') ? (FORM_SLOT.exec(prose)?.[0] ?? null) : null;
  return slot === null ? null : { score: 0.8, reason, detail: slot };
}
