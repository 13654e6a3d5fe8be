import { spacedWords } from './textRules.js';

/** Words of tasks that a model of text cannot do: Self-Instruct's list. */
export const BLOCKED_WORDS: readonly string[] = [
  'image',
  'images',
  'graph',
  'graphs',
  'picture',
  'pictures',
  'file',
  'files',
  'map',
  'maps',
  'draw',
  'plot',
  'go to',
];

/** Self-Instruct's authors found models to put it before any task. */
export const BLOCKED_STARTS: readonly string[] = ['write a program'];

/** What an instruction must be. */
export interface InstructionRules {
  readonly minWords: number;
  readonly maxWords: number;
  readonly blockedWords: readonly string[];
  readonly blockedStarts: readonly string[];
}

/**
 * Why an instruction is no good, by Self-Instruct's rules: its number of words, a word or words of
 * the lists, a first character that is a sign. null: it is good. The authors' code also drops what
 * begins with a letter outside of ASCII, which leaves English alone; this does not.
 */
export function instructionFault(
  text: string,
  { minWords, maxWords, blockedWords, blockedStarts }: InstructionRules,
): { readonly reason: string; readonly detail: string } | null {
  const { length } = spacedWords(text);
  if (length < minWords) return { reason: 'too short', detail: `${length} words` };
  if (length > maxWords) return { reason: 'too long', detail: `${length} words` };
  if (!/^[“¿¡]?[\p{L}\p{N}]/u.test(text))
    return { reason: 'odd first character', detail: JSON.stringify([...text][0]) };
  const plain = text.replace(/\s+/g, ' ').toLowerCase();
  const start = blockedStarts.find((words) => plain.startsWith(words.toLowerCase()));
  if (start !== undefined) return { reason: 'blocked start', detail: start };
  const found = blockedWords.find((word) => hasWord(plain, word.toLowerCase()));
  return found === undefined ? null : { reason: 'blocked word', detail: found };
}

/** Whether a word, or several, stands in a text between signs, spaces or its ends. */
function hasWord(text: string, word: string): boolean {
  for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + 1)) {
    const [before, after] = [text.slice(0, at), text.slice(at + word.length)];
    if (!/[\p{L}\p{N}_]$/u.test(before) && !/^[\p{L}\p{N}_]/u.test(after)) return true;
  }
  return false;
}

/** The items of a numbered list, each with all its lines; what is before it is left out. */
export function readList(text: string): string[] {
  const items: string[] = [];
  for (const line of text.split('\n')) {
    const start = /^\s*(?:\*\*)?(?:task\s*)?\d+\s*[.):](?:\*\*)?\s*(.*)$/i.exec(line);
    if (start) items.push(start[1]!);
    else if (items.length > 0) items[items.length - 1] += `\n${line}`;
  }
  return items.map((item) => item.trim()).filter((item) => item !== '');
}
