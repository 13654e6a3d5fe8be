/** Why code is not what it claims to be. */
export interface CodeProblem {
  /** What the parser says. */
  readonly message: string;
  /** Line of the code, from 1 on. */
  readonly line: number;
  /** Column in it, from 1 on. */
  readonly column: number;
  /** Whether it is a relative of the language: TypeScript in a block of JavaScript, Python 2. */
  readonly isRelative?: boolean;
}

/** Line and column of an offset in a text, from 1 on. */
export function placeOf(text: string, offset: number): { line: number; column: number } {
  const before = text.slice(0, offset);
  const line = before.split('\n').length;
  return { line, column: offset - before.lastIndexOf('\n') };
}

/** Longer code is not judged. */
export const LONGEST_CODE = 200_000;
/** Longer code is no excerpt of something. */
export const LONGEST_EXCERPT = 20_000;

/** Lines of a diff: what was there and what is there now. */
const DIFF_LINE = /^[+-](?![+-])/m;

/** The code after a diff, without the marks; null for what is no diff. */
export function afterDiff(code: string): string | null {
  if (!DIFF_LINE.test(code)) return null;
  return code
    .split('\n')
    .filter((line) => !/^(?:-|@@|\+\+\+|diff |index )/.test(line))
    .map((line) => line.replace(/^[+ ]/, ''))
    .join('\n');
}

/** Signs that something was left out, or is to be filled in, on purpose. */
const PARTIAL =
  /…|^[ \t]*\.{3,}[ \t]*[,;]?[ \t]*$|[([{,=:][ \t]*\.{3}[ \t]*(?:[)\]},;]|$)|\.{3}[ \t]*(?:rest|etc|more|and so on)|<[a-z][a-z_ -]{0,40}[_ -][a-z_ -]{1,40}>|\{\{|\}\}|\[\[?(?:your|insert)\b/im;

/** A slot of one word: in JSX it is a tag. */
const WORD_SLOT = /<[a-z]{2,40}>/i;

/** Lines around an error in which a sign of a sketch explains it. */
const AROUND = 3;

/** Whether code is a sketch around a line: an ellipsis, a slot; or a hunk of a diff. */
export function isPartialAt(code: string, line: number, hasTags = false): boolean {
  const lines = code.split('\n').slice(Math.max(0, line - 1 - AROUND), line + AROUND);
  const near = lines.join('\n');
  return PARTIAL.test(near) || (!hasTags && WORD_SLOT.test(near)) || /^@@ /m.test(code);
}

/** What an interpreter says when it stops, shown in a block of its language. */
const ERROR_SHOWN =
  /^\s*(?:Traceback \(most recent call last\):|(?:Uncaught )?(?:[A-Z]\w*)?Error: )/;

/** Whether a block shows an error, and no code. */
export const showsError = (code: string): boolean => ERROR_SHOWN.test(code);

/** Commands that are typed beside code: "pip install numpy", "$ node main.js". */
const COMMAND =
  /^[ \t]*(?:\$ .*|(?:sudo |[!%])?(?:pip3?|conda|npm|npx|yarn|pnpm|apt|apt-get|brew|git|cd|mkdir|curl|wget|python3?|node|docker|uv|poetry) [\w./@-].*)$/gm;

/** Code without lines that are for a shell; null: it has none. */
export function withoutCommands(code: string): string | null {
  const rest = code.replace(COMMAND, '');
  return rest === code ? null : rest;
}
