import { parser } from '@lezer/python';

import {
  afterDiff,
  type CodeProblem,
  isPartialAt,
  LONGEST_EXCERPT,
  placeOf,
  showsError,
  withoutCommands,
} from './codeProblem.js';

/**
 * What is wrong with Python. Excerpts are taken: indented ones, sessions with `>>>`, notebooks with
 * magics, sketches with an ellipsis, a diff. Python 2 is a relative.
 */
export function pythonProblem(code: string): CodeProblem | null {
  const read = withoutMagics(dedented(sessionInput(code) ?? code));
  const problem = firstProblem(read);
  if (problem === null || isPartialAt(read, problem.line) || showsError(code)) return null;
  const diff = afterDiff(code);
  if (diff !== null && firstProblem(dedented(diff)) === null) return null;
  if (
    read.length <= LONGEST_EXCERPT &&
    AROUND.some(([before, after]) => firstProblem(before + read.trimEnd() + after) === null)
  )
    return null;
  const filled = withBodies(read);
  if (filled !== read && firstProblem(filled) === null) return null;
  const modern = fromPython2(read);
  if (modern !== read && firstProblem(modern) === null)
    return { ...problem, message: 'it is Python 2', isRelative: true };
  const rest = withoutCommands(read);
  if (rest !== null && firstProblem(rest) === null)
    return { ...problem, message: 'it has a command of a shell', isRelative: true };
  return problem;
}

/** What an excerpt may be the inside of: a dictionary, a call, a list; or a signature alone. */
const AROUND: readonly (readonly [before: string, after: string])[] = [
  ['{', '\n}'],
  ['f(', '\n)'],
  ['[', '\n]'],
  ['', ': pass'],
];

const OPENS_BODY =
  /^([ \t]*)(?:async[ \t]+)?(?:def|class|if|elif|else|for|while|try|except|finally|with)\b.*:[ \t]*(?:#.*)?$/;

/** Bodies that are a comment for the reader to fill in, with a statement. */
function withBodies(code: string): string {
  const filled: string[] = [];
  // From the end: what stands behind a line, and how far the statement behind it is indented.
  let isComment = false;
  let below = 0;
  for (const line of code.split('\n').reverse()) {
    const indent = OPENS_BODY.exec(line)?.[1];
    if (indent !== undefined && isComment && below <= indent.length)
      filled.push(`${indent}    pass`);
    filled.push(line);
    const isStatement = !/^[ \t]*(?:#.*)?$/.test(line);
    if (isStatement) below = /^[ \t]*/.exec(line)![0].length;
    isComment = !isStatement && (isComment || line.trim() !== '');
  }
  return filled.reverse().join('\n');
}

/**
 * What the grammar does not know, as something of the same length that it does: `yield` without a
 * value, "4.", names within the brackets of `with`, and patterns of a class in a module or without
 * attributes.
 */
const withoutQuirks = (code: string): string =>
  code
    .replace(
      /^([ \t]*(?:async[ \t]+)?with[ \t]*\()([^:]{1,2000}\)[ \t]*:)/gm,
      (_all, begin: string, items: string) => begin + items.replace(/\bas\b/g, ' ,'),
    )
    .replace(/^([ \t]*@)[\w.]+(?:\[.*|\(.*\)[(.[].*)$/gm, '$1x')
    .replace(/\byield(?=[ \t]*(?:$|[)\]},#;]))/gm, 'None ')
    .replace(
      /(?<![\w.])(\d{1,20})\.(?=[ \t]*(?:$|[)\]},:*/+-]))/gm,
      (_all, digits: string) => `${digits}0`,
    )
    .replace(/^[ \t]*case .*$/gm, (line) =>
      line.replace(/[A-Za-z_][\w.]{0,80}(?:\(\))?/g, (name) => name.replace(/[.()]/g, '_')),
    );

function firstProblem(given: string): CodeProblem | null {
  const code = withoutQuirks(given);
  const at = errorAt(code.endsWith('\n') ? code : `${code}\n`);
  if (at < 0) return null;
  const line = code.slice(at).split('\n')[0]!.trim();
  return {
    message: line === '' ? 'a line ends too early' : `unexpected "${line.slice(0, 20)}"`,
    ...placeOf(code, Math.min(at, code.length)),
  };
}

/** Stops at the first error: to go on behind one is slow, and tells nothing more. */
const strict = parser.configure({ strict: true });

/** Where code is no Python; -1: it is. */
function errorAt(code: string): number {
  let at = -1;
  try {
    strict.parse(code).iterate({
      enter: ({ type, node }) => {
        if (at < 0 && (type.name === 'Script' || type.name === 'Body')) at = oddIndent(node, code);
        return at < 0;
      },
    });
  } catch (error) {
    const place = /at (\d+)$/.exec((error as Error).message);
    if (place === null) throw error;
    at = Number(place[1]);
  }
  return at;
}

/** A node of the tree, as far as it is looked at. */
interface Block {
  readonly name: string;
  readonly from: number;
  readonly firstChild: Block | null;
  readonly nextSibling: Block | null;
}

/** Where a statement is not indented as the first one of its block; -1: nowhere. */
function oddIndent(block: Block, code: string): number {
  let indent: string | null = null;
  for (let child: Block | null = block.firstChild; child !== null; child = child.nextSibling) {
    if (child.name === 'Comment' || child.name === ':') continue;
    const before = code.slice(code.lastIndexOf('\n', child.from - 1) + 1, child.from);
    // Behind a colon or a semicolon on a line of another statement.
    if (before.trim() !== '') continue;
    indent ??= before;
    if (before !== indent) return child.from;
  }
  return -1;
}

/** Where lines of a session begin: of Python, and of IPython. */
const PROMPT = /^[ \t]*(?:>>>|In ?\[\d*\]:)(?: |$)/m;

/** What was typed in a session; null for what is none. Answers are left out. */
function sessionInput(code: string): string | null {
  if (!PROMPT.test(code)) return null;
  // An example in a docstring is a part of code.
  if (!PROMPT.test(code.replace(/^(?:[ \t]*#.*|[ \t]*)\n/gm, '').split('\n')[0]!)) return null;
  return code
    .split('\n')
    .flatMap((line) => {
      const match = /^[ \t]*(?:>>>|\.{3,}:?|In ?\[\d*\]:)(?: (.*))?$/.exec(line);
      return match ? [match[1] ?? ''] : [];
    })
    .join('\n');
}

/** Lines of a notebook that are for it and not for Python: "%time", "!pip install", "np.sum?". */
const withoutMagics = (code: string): string =>
  code
    .replace(/^([ \t]*)[%!][%\w].*$/gm, '$1pass')
    .replace(/^([ \t]*[\w, ]{1,80}=[ \t]*)[%!]\w.*$/gm, '$1None')
    .replace(/^([ \t]*)(?:\?{1,2}[\w.]+|[\w.]+\?{1,2})[ \t]*$/gm, '$1pass');

/** Without the indentation that all lines have. */
function dedented(code: string): string {
  const lines = code.replaceAll('\r', '').split('\n');
  const indents = lines.flatMap((line) =>
    line.trim() === '' ? [] : [/^[ \t]*/.exec(line)![0].length],
  );
  const least = indents.length === 0 ? 0 : Math.min(...indents.slice(0, 10_000));
  return least === 0 ? lines.join('\n') : lines.map((line) => line.slice(least)).join('\n');
}

/** What stands behind `print`: without a file, and without the comma that keeps the line open. */
const printed = (said: string): string =>
  said
    .replace(/^>>[ \t]*[\w.]{1,60},/, '')
    .trimEnd()
    .replace(/,$/, '');

/** Statements of Python 2 as Python 3 has them, line by line. */
const fromPython2 = (code: string): string =>
  code
    .replace(
      /^([ \t]*(?:[^#\n'"]{1,80}: )?)print(?:[ \t]+([^=\n][^\n]*))?$/gm,
      (_line, before: string, said = '') => `${before}print(${printed(said)})`,
    )
    .replace(/^([ \t]*except[ \t]+[\w.()]{1,80}),[ \t]*(\w+):/gm, '$1 as $2:')
    .replace(/^([ \t]*)(exec|raise[ \t]+\w+),?[ \t]+(["'].*)$/gm, '$1$2($3)')
    .replace(/`([^`\n]{1,200})`/g, 'repr($1)')
    .replace(/<>/g, '!=')
    .replace(/\b(\d+)[lL]\b/g, '$1')
    .replace(/\b0(\d+)\b/g, '0o$1')
    .replace(/\bur(["'])/g, 'r$1');
