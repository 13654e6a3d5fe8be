import { words } from './textRules.js';

/** Words of tasks that a model of text cannot do. */
export const BLOCKED_WORDS: readonly string[] = [
  'image',
  'images',
  'graph',
  'graphs',
  'picture',
  'pictures',
  'photo',
  'file',
  'files',
  'map',
  'maps',
  'draw',
  'plot',
  'video',
  'videos',
  'audio',
  'music',
  'flowchart',
  'diagram',
];

/** What an instruction must be. */
export interface InstructionRules {
  readonly minWords: number;
  readonly maxWords: number;
  readonly blockedWords: readonly string[];
}

/**
 * Why an instruction is no good, by Self-Instruct's rules: its number of words, a word of the list,
 * a first character that is no letter and no digit. null: it is good.
 */
export function instructionFault(
  text: string,
  { minWords, maxWords, blockedWords }: InstructionRules,
): { readonly reason: string; readonly detail: string } | null {
  const all = words(text);
  if (all.length < minWords) return { reason: 'too short', detail: `${all.length} words` };
  if (all.length > maxWords) return { reason: 'too long', detail: `${all.length} words` };
  if (!/^["'“¿¡]?[\p{L}\p{N}]/u.test(text))
    return { reason: 'odd first character', detail: JSON.stringify([...text][0]) };
  const blocked = new Set(blockedWords.map((word) => word.toLowerCase()));
  const found = all.find((word) => blocked.has(word.toLowerCase()));
  return found === undefined ? null : { reason: 'blocked word', detail: found };
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
