import type { OptionsInput } from '@attune/core/util';
import { z } from 'zod';
import { defineQualityCheck, type Verdict, worstOf } from '../qualityCheck.js';
import type { QualityRow, Turn } from '../qualityRow.js';
import { openFenceOf, readFences } from '../text/fences.js';
import { isBlank } from '../text/lines.js';
import { endingOf, endsOpen } from './endings.js';
import { placeholderIn } from './placeholders.js';
import { refusalIn } from './refusals.js';
import { openInLastLine, unclosedIn } from './unclosed.js';

const completenessShape = {
  /** Whether answers that refuse are found: "I'm sorry, but I can't". Default false. */
  refusals: z.boolean().default(false),
  /** Whether answers that stop within a sentence are found. Default true. */
  cutOff: z.boolean().default(true),
  /** Whether "TODO", "[insert ...]" and the like are found. Default true. */
  placeholders: z.boolean().default(true),
};

/** Options of the check `completeness`. */
export type CompletenessOptions = OptionsInput<typeof completenessShape>;

type Rules = z.output<z.ZodObject<typeof completenessShape>>;

/**
 * Whether a row has all that it begins: every turn says something, the last one is an answer, and
 * answers end where they should.
 *
 * Score: 1 minus how sure it is that something is missing; the worst finding of all answers counts.
 * Reasons: "no answer", "empty turn", "cut off", "unclosed fence", "unclosed tag",
 * "unclosed formula", "unclosed bracket", "unclosed quote", "placeholder", "refusal".
 */
export const completeness = defineQualityCheck({
  name: 'completeness',
  options: z.strictObject(completenessShape),
  start: (rules) => (row) => {
    const missing = missingIn(row);
    if (missing !== null) return missing;
    const { prompt, answers, answer } = row;
    return worstOf(
      answers.flatMap((text) => answerFaults(text, text === answer ? prompt : null, rules)),
    );
  },
});

/** Turns that say nothing, and conversations that end before the answer. */
function missingIn({ turns, expectsAnswer }: QualityRow): Verdict | null {
  const last = turns.at(-1);
  if (last === undefined) return { score: 0, reason: 'no answer', detail: 'the row has no text' };
  if (expectsAnswer && last.speaker !== 'assistant' && last.speaker !== 'other')
    return { score: 0, reason: 'no answer', detail: `the last turn is of the ${last.speaker}` };
  const silent = turns.find((turn) => isSilent(turn));
  if (silent === undefined) return null;
  if (silent.speaker === 'assistant' && (silent === last || silent.isRejected))
    return { score: 0, reason: 'no answer', detail: 'the answer is empty' };
  return { score: 0, reason: 'empty turn', detail: `a turn of the ${silent.speaker} is empty` };
}

/** An empty system prompt says that there is none, and an empty result of a tool is one. */
const isSilent = ({ speaker, text, saysMore }: Turn): boolean =>
  (speaker === 'user' || speaker === 'assistant') && !saysMore && isBlank(text);

function answerFaults(answer: string, prompt: string | null, rules: Rules): Verdict[] {
  const fenced = readFences(answer, openFenceOf(prompt));
  const { prose, endsInBlock } = fenced;
  const found = unclosedIn(answer, fenced);
  if (rules.cutOff && !endsInBlock && found.length === 0) {
    const { score, detail } = endingOf(prose);
    if (score < 1) found.push({ score, reason: 'cut off', ...(detail && { detail }) });
    const open = openInLastLine(prose, endsOpen(prose));
    if (open !== null) found.push(open);
  }
  const placeholder = rules.placeholders ? placeholderIn(prose, answer, prompt) : null;
  if (placeholder !== null) found.push(placeholder);
  const refusal = rules.refusals ? refusalIn(answer) : null;
  if (refusal !== null) found.push(refusal);
  return found;
}
