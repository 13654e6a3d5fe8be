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
  /…|^[ \t]*\.{3,}[ \t]*[,;]?[ \t]*$|[([{,=:][ \t]*\.{3}[ \t]*(?:[)\]},;]|$)|\.{3}[ \t]*(?:rest|etc|more|and so on)|<[a-z][a-z_ -]{2,40}>|\{\{|\}\}|\[\[?(?:your|insert)\b/im;

/** Lines around an error in which a sign of a sketch explains it. */
const AROUND = 3;

/** Whether code is a sketch around a line: an ellipsis, a slot; or a hunk of a diff. */
export function isPartialAt(code: string, line: number): boolean {
  const near = code.split('\n').slice(Math.max(0, line - 1 - AROUND), line + AROUND);
  return PARTIAL.test(near.join('\n')) || /^@@ /m.test(code);
}
