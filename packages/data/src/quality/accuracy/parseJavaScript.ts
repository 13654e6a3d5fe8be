import { type ParserOptions, type ParserPlugin, parse } from '@babel/parser';
import {
  afterDiff,
  type CodeProblem,
  isPartialAt,
  LONGEST_EXCERPT,
  showsError,
  withoutCommands,
} from './codeProblem.js';

/** Errors about meaning: an excerpt may show the same name twice. */
const OF_MEANING = new Set([
  'VarRedeclaration',
  'DuplicateExport',
  'DuplicateDefaultExport',
  'DuplicateConstructor',
  'DuplicateProto',
  'ModuleExportUndefined',
  'PrivateNameRedeclaration',
  'InvalidPrivateFieldResolution',
  'LabelRedeclaration',
  'StrictDelete',
  'StrictWith',
  'StrictEvalArguments',
  'StrictNumericEscape',
  'StrictOctalLiteral',
  'IllegalBreakContinue',
]);

const ANYWHERE: ParserOptions = {
  allowAwaitOutsideFunction: true,
  allowImportExportEverywhere: true,
  allowNewTargetOutsideFunction: true,
  allowReturnOutsideFunction: true,
  allowSuperOutsideMethod: true,
  allowUndeclaredExports: true,
  allowYieldOutsideFunction: true,
};

/** What an excerpt may be the inside of. */
const AROUND: readonly (readonly [before: string, after: string])[] = [
  ['(', '\n)'],
  ['({', '\n})'],
  ['class X {', '\n}'],
  ['x', ''],
  ['switch (x) {', '\n}'],
];
const AROUND_TYPES: readonly (readonly [before: string, after: string])[] = [
  ['interface X {', '\n}'],
  ['type X =', ''],
];

type Dialect = 'javascript' | 'typescript';

/** What is on its way into the language. */
const NEW: readonly ParserPlugin[] = ['decoratorAutoAccessors'];

const PLUGINS: Readonly<Record<Dialect, readonly (readonly ParserPlugin[])[]>> = {
  javascript: [['jsx', 'decorators']],
  typescript: [
    ['typescript', 'decorators-legacy'],
    ['typescript', 'jsx', 'decorators-legacy'],
  ],
};

/** What a file that says so is written in. */
const FLOW: readonly (readonly ParserPlugin[])[] = [['flow', 'jsx', 'decorators']];

/**
 * What is wrong with JavaScript or TypeScript, with or without JSX. Excerpts are taken: the inside
 * of a class, of an object or of a call, a chain of calls, sketches with an ellipsis, a diff.
 */
export function javaScriptProblem(code: string, dialect: Dialect): CodeProblem | null {
  const problem = firstProblem(code, dialect);
  if (problem === null || isPartialAt(code, problem.line, true)) return null;
  if (isTranscript(code) || showsError(code)) return null;
  const around = dialect === 'typescript' ? [...AROUND, ...AROUND_TYPES] : AROUND;
  if (
    code.length <= LONGEST_EXCERPT &&
    around.some(([before, after]) => firstProblem(before + code + after, dialect) === null)
  )
    return null;
  const diff = afterDiff(code);
  if (diff !== null && firstProblem(diff, dialect) === null) return null;
  if (dialect === 'javascript' && firstProblem(code, 'typescript') === null)
    return { ...problem, message: 'it is TypeScript', isRelative: true };
  const rest = withoutCommands(code);
  if (rest !== null && firstProblem(rest, dialect) === null)
    return { ...problem, message: 'it has a command of a shell', isRelative: true };
  return problem;
}

/** What a shell of JavaScript shows, with its prompts. */
const isTranscript = (code: string): boolean => /^> /m.test(code);

function firstProblem(code: string, dialect: Dialect): CodeProblem | null {
  let first: CodeProblem | null = null;
  const isFlow = dialect === 'javascript' && /@flow\b/.test(code);
  for (const plugins of isFlow ? FLOW : PLUGINS[dialect])
    for (const sourceType of ['module', 'script'] as const) {
      const problem = problemOf(code, { ...ANYWHERE, sourceType, plugins: [...plugins, ...NEW] });
      if (problem === null) return null;
      first ??= problem;
    }
  return first;
}

function problemOf(code: string, options: ParserOptions): CodeProblem | null {
  try {
    // To go on behind an error costs the square of their number.
    const errorRecovery = code.length <= LONGEST_EXCERPT;
    const { errors } = parse(code, { ...options, errorRecovery });
    const error = errors?.find(({ reasonCode }) => !OF_MEANING.has(reasonCode));
    return error === undefined ? null : toProblem(error);
  } catch (error) {
    // Nested deeper than the parser can go: it says nothing about the code.
    if (error instanceof RangeError) return null;
    if (OF_MEANING.has((error as { readonly reasonCode?: string }).reasonCode ?? '')) return null;
    return toProblem(error as { readonly message: string });
  }
}

function toProblem(error: object): CodeProblem {
  const { message = 'it does not parse', loc } = error as {
    readonly message?: string;
    readonly loc?: { readonly line: number; readonly column: number };
  };
  return {
    message: message.replace(/\s*\(\d+:\d+\)$/, '').replace(/\.$/, ''),
    line: loc?.line ?? 1,
    column: (loc?.column ?? 0) + 1,
  };
}
