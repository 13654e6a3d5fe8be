import { linesOf } from './lines.js';

/** A fenced code block of Markdown. */
export interface FencedBlock {
  /** What stands behind the opening fence, in lower case, up to the first space: "python". */
  readonly language: string;
  readonly code: string;
  /** Whether a fence ends it. */
  readonly isClosed: boolean;
  /** The line of its fence in the text, from 1 on. */
  readonly line: number;
}

/** A text taken apart: its fenced blocks, and the text around them. */
export interface FencedText {
  readonly blocks: readonly FencedBlock[];
  /** What is in no block, line by line; a block leaves one empty line. */
  readonly prose: string;
  /** Whether the text ends with a block that is closed. */
  readonly endsInBlock: boolean;
}

interface Fence {
  readonly mark: string;
  readonly length: number;
  readonly info: string;
}

/** The fence that a line is, as CommonMark has it; indented as deep as lists may be. */
function fenceOf(line: string): Fence | null {
  let at = 0;
  while (at < 16 && (line[at] === ' ' || line[at] === '\t' || line[at] === '>')) at++;
  const mark = line[at];
  if (mark !== '`' && mark !== '~') return null;
  let end = at;
  while (line[end] === mark) end++;
  if (end - at < 3) return null;
  const info = line.slice(end).trim();
  // An inline code span: ```like this```.
  if (mark === '`' && info.includes('`')) return null;
  return { mark, length: end - at, info };
}

/** Whether a text has anything that may be a fence: what most texts have not. */
export const mayHaveFences = (text: string): boolean =>
  text.includes('```') || text.includes('~~~');

/**
 * Takes a text apart at its fences.
 *
 * @param open the fence that is open where the text begins: of a prompt that ends in one
 */
export function readFences(text: string, open: OpenFence | null = null): FencedText {
  if (open === null && !mayHaveFences(text)) return { blocks: [], prose: text, endsInBlock: false };
  const blocks: FencedBlock[] = [];
  const prose: string[] = [];
  let fence: (Fence & { readonly line: number }) | null = open && {
    ...open,
    info: open.language,
    line: 0,
  };
  let code: string[] = [];
  let number = 0;
  let depth = 0;
  let endsInBlock = false;
  const close = (isClosed: boolean) => {
    blocks.push({
      language: languageOf(fence!.info),
      code: code.join('\n'),
      isClosed,
      line: fence!.line,
    });
    prose.push('');
    fence = null;
    code = [];
    depth = 0;
  };
  for (const line of linesOf(text)) {
    number++;
    const found = fenceOf(line);
    if (fence === null) {
      if (found) fence = { ...found, line: number };
      else {
        prose.push(line);
        if (line.trim() !== '') endsInBlock = false;
      }
    } else if (found && found.info !== '' && isMarkdown(fence.info)) {
      // Markdown that is shown with blocks of its own, under fences of the same length.
      depth++;
      code.push(line);
    } else if (found && depth > 0) {
      depth--;
      code.push(line);
    } else if (
      found &&
      found.mark === fence.mark &&
      found.length >= fence.length &&
      found.info === ''
    ) {
      close(true);
      endsInBlock = true;
    } else code.push(line);
  }
  if (fence !== null) {
    close(false);
    endsInBlock = false;
  }
  return { blocks, prose: prose.join('\n'), endsInBlock };
}

/** A fence that a text leaves open. */
export interface OpenFence {
  readonly mark: string;
  readonly length: number;
  readonly language: string;
}

/** The fence that a prompt leaves open for its answer. null: none. */
export function openFenceOf(prompt: string | null): OpenFence | null {
  if (prompt === null || !mayHaveFences(prompt)) return null;
  let open: Fence | null = null;
  for (const line of linesOf(prompt)) {
    const found = fenceOf(line);
    if (!found) continue;
    if (open === null) open = found;
    else if (found.mark === open.mark && found.length >= open.length && found.info === '')
      open = null;
  }
  return open && { mark: open.mark, length: open.length, language: languageOf(open.info) };
}

const isMarkdown = (info: string): boolean => /^(?:markdown|md|mdx)\b/i.test(info);

/** "js title=x", "{.python}", "Python3": the name alone. */
const languageOf = (info: string): string =>
  (/^[{.]*([\w+#.-]{1,40})/.exec(info)?.[1] ?? '').toLowerCase();
