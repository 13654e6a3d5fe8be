import type { Verdict } from '../qualityCheck.js';
import type { FencedText } from '../text/fences.js';

/** Tags of reasoning and of answers that models are taught to close. */
const TAGS = ['think', 'thinking', 'reasoning', 'answer', 'solution', 'tool_call', 'scratchpad'];
const TAG = new RegExp(`<(/?)(${TAGS.join('|')})>`, 'g');

/** Fences, tags, formulas, brackets and quotes that begin and do not end. */
export function unclosedIn(answer: string, { blocks, prose }: FencedText): Verdict[] {
  const found: Verdict[] = [];
  const fence = blocks.find(({ isClosed }) => !isClosed);
  if (fence)
    found.push({
      score: 0.2,
      reason: 'unclosed fence',
      detail: `the code block of line ${fence.line} has no end`,
    });
  const tag = unclosedTag(answer);
  if (tag !== null)
    found.push({ score: 0.2, reason: 'unclosed tag', detail: `<${tag}> has no </${tag}>` });
  if (hasOpenDisplay(prose))
    found.push({ score: 0.4, reason: 'unclosed formula', detail: 'the last $$ has no second one' });
  const environment = unclosedEnvironment(prose);
  if (environment !== null)
    found.push({
      score: 0.4,
      reason: 'unclosed formula',
      detail: `\\begin{${environment}} has no end`,
    });
  const json = cutJson(answer);
  if (json !== null) found.push(json);
  return found;
}

/** "$$" is also the number of a shell: a formula has commands, powers or indices. */
function hasOpenDisplay(prose: string): boolean {
  const last = prose.lastIndexOf('$$');
  if (last < 0 || prose.split('$$').length % 2 === 1) return false;
  return /\\[a-zA-Z]{2}|[\^_]\{/.test(prose.slice(last));
}

/** The tag that is opened last and never closed: others may be spoken of. */
function unclosedTag(answer: string): string | null {
  if (!answer.includes('<')) return null;
  let open: string | null = null;
  for (const [, slash, name] of answer.matchAll(TAG)) {
    if (slash === '') open ??= isAtLineStart(answer, name!) ? name! : null;
    else if (name === open) open = null;
  }
  return open;
}

/** Whether a tag begins the answer or a line of it: one within a sentence is spoken of. */
const isAtLineStart = (answer: string, name: string): boolean => {
  const at = answer.indexOf(`<${name}>`);
  return answer.slice(answer.lastIndexOf('\n', at) + 1, at).trim() === '';
};

function unclosedEnvironment(prose: string): string | null {
  if (!prose.includes('\\begin{')) return null;
  const open: string[] = [];
  for (const [, word, name] of prose.matchAll(/\\(begin|end)\{([a-z]{1,20}\*?)\}/g))
    if (word === 'begin') open.push(name!);
    else if (open.at(-1) === name) open.pop();
  // With the end of a sentence behind it, it is spoken of.
  return /[.!?。]["')]*\s*$/.test(prose) ? null : (open.at(-1) ?? null);
}

/** An answer that is JSON up to a place where it stops. */
function cutJson(answer: string): Verdict | null {
  const text = answer.trim();
  if (!/^(?:\{\s*"|\[\s*[{["])/.test(text)) return null;
  const open: string[] = [];
  let isInString = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (isInString) {
      if (c === '\\') i++;
      else if (c === '"') isInString = false;
    } else if (c === '"') isInString = true;
    else if (c === '{' || c === '[') open.push(c);
    else if (c === '}' || c === ']') {
      // Something follows the value, or it is no JSON at all.
      if (open.pop() !== (c === '}' ? '{' : '[') || open.length === 0) return null;
    }
  }
  if (!/:|,/.test(text)) return null;
  return {
    score: 0.2,
    reason: isInString ? 'unclosed quote' : 'unclosed bracket',
    detail: `JSON that ends within ${open.length} open brackets`,
  };
}

/** Longer lines are no prose. */
const LONGEST_LINE = 100_000;

/** Pairs that prose may leave open where it is cut off. */
const PAIRS: readonly (readonly [open: string, close: string, reason: string])[] = [
  ['(', ')', 'unclosed bracket'],
  ['（', '）', 'unclosed bracket'],
  ['「', '」', 'unclosed quote'],
  ['“', '”', 'unclosed quote'],
  ['《', '》', 'unclosed quote'],
];

/**
 * Brackets and quotes that the last line opens.
 *
 * @param isOpen whether it is prose without an end: else it is a slip of the pen, not a text that
 *   stops
 */
export function openInLastLine(prose: string, isOpen: boolean): Verdict | null {
  const text = prose.trimEnd();
  const line = text.slice(text.lastIndexOf('\n') + 1);
  if (line.length > LONGEST_LINE) return null;
  const score = isOpen ? 0.3 : 0.8;
  const detail = line.length > 40 ? `...${line.slice(-40)}` : line;
  for (const [open, close, reason] of PAIRS) {
    const at = line.lastIndexOf(open);
    if (at < 0 || line.indexOf(close, at) >= 0 || /[:;=][-']?$/.test(line.slice(0, at))) continue;
    // A half-open interval: (0, 1].
    if (open === '(' && /^\([^()]{1,40}\]/.test(line.slice(at))) continue;
    if (/[`\\$|{}]/.test(line) || line.length - at < 3) continue;
    return { score, reason, detail };
  }
  const quotes = line.split('"').length - 1;
  if (quotes % 2 === 1 && !/\d"|[“”]/.test(line) && !/[`\\$|{}=<>]/.test(line) && /\w\s/.test(line))
    return { score: isOpen ? 0.4 : 0.8, reason: 'unclosed quote', detail };
  return null;
}
