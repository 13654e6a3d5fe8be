import type { OptionsInput } from '@attune/core/util';
import { z } from 'zod';
import { defineQualityCheck, type Verdict, worstOf } from '../qualityCheck.js';
import { type FencedBlock, openFenceOf, readFences } from '../text/fences.js';
import { type CodeProblem, LONGEST_CODE } from './codeProblem.js';
import { javaScriptProblem } from './parseJavaScript.js';
import { jsonProblem } from './parseJson.js';
import { pythonProblem } from './parsePython.js';
import { staleIn } from './staleDates.js';

/** Languages whose code is parsed. */
export const CODE_LANGUAGES = ['javascript', 'typescript', 'python', 'json'] as const;

/** A language whose code is parsed. */
export type CodeLanguage = (typeof CODE_LANGUAGES)[number];

const accuracyShape = {
  /** Languages whose code blocks have to parse. Default all; [] for none. */
  languages: z.array(z.enum(CODE_LANGUAGES)).default(() => [...CODE_LANGUAGES]),
  /**
   * Years before this one are past, where an answer says "as of 2021". The default does not move
   * with the clock, so that a rerun gives the same rows. Default 2025; 0 finds none.
   */
  staleBefore: z.int().min(0).default(2025),
};

/** Options of the check `accuracy`. */
export type AccuracyOptions = OptionsInput<typeof accuracyShape>;

/**
 * Whether what an answer claims can be seen to be wrong: code blocks parse as the language that
 * they name, and nothing is told as of a year that is past. Code is parsed, never run.
 *
 * Score: 1 minus how sure it is that something is wrong; the worst finding of all answers counts.
 * Reasons: "code does not parse", "empty code block", "knowledge cutoff", "stale date".
 */
export const accuracy = defineQualityCheck({
  name: 'accuracy',
  options: z.strictObject(accuracyShape),
  start: ({ languages, staleBefore }) => {
    const isAsked = new Set<CodeLanguage>(languages);
    return ({ answers, answer, prompt }) =>
      worstOf(
        answers.flatMap((text) => {
          const asked = text === answer ? prompt : null;
          const { blocks, prose } = readFences(text, openFenceOf(asked));
          const found = blocks.flatMap((block) => blockFaults(block, isAsked));
          if (isAsked.has('json') && blocks.length === 0) found.push(...bareJson(text, asked));
          const stale = staleIn(prose, staleBefore);
          return stale === null ? found : [...found, stale];
        }),
      );
  },
});

type Parser = (code: string) => CodeProblem | null;

const javaScript: Parser = (code) => javaScriptProblem(code, 'javascript');
const typeScript: Parser = (code) => javaScriptProblem(code, 'typescript');

const named = (
  names: string,
  language: CodeLanguage,
  parser: Parser,
): [name: string, [CodeLanguage, Parser]][] =>
  names.split(' ').map((name) => [name, [language, parser]]);

/** What blocks call their language. */
const PARSERS: ReadonlyMap<string, readonly [CodeLanguage, Parser]> = new Map([
  ...named('js javascript jsx mjs cjs node nodejs ecmascript', 'javascript', javaScript),
  ...named('ts typescript tsx mts cts', 'typescript', typeScript),
  ...named('py python python3 py3 pycon', 'python', pythonProblem),
  ...named('json', 'json', (code) => jsonProblem(code, 'json')),
  ...named('jsonc', 'json', (code) => jsonProblem(code, 'jsonc')),
  ...named('json5', 'json', (code) => jsonProblem(code, 'json5')),
  ...named('jsonl ndjson', 'json', (code) => jsonProblem(code, 'jsonl')),
]);

function blockFaults(
  { language, code, isClosed, line }: FencedBlock,
  asked: ReadonlySet<CodeLanguage>,
): Verdict[] {
  // A block that stops is incomplete, which is not for this check to say.
  if (!isClosed) return [];
  if (code.trim() === '')
    return [{ score: 0.4, reason: 'empty code block', detail: `line ${line}` }];
  const parser = PARSERS.get(language);
  if (parser === undefined || !asked.has(parser[0]) || code.length > LONGEST_CODE) return [];
  const problem = parser[1](code);
  return problem === null ? [] : [problemVerdict(problem, language, line)];
}

const problemVerdict = (problem: CodeProblem, language: string, fence: number): Verdict => ({
  score: problem.isRelative ? 0.8 : 0.3,
  reason: 'code does not parse',
  detail: `${language}, line ${fence + problem.line}, column ${problem.column}: ${problem.message}`,
});

/** An answer that is JSON alone, to a question that asks for JSON. */
function bareJson(answer: string, prompt: string | null): Verdict[] {
  if (prompt === null || !/^\s*(?:\{\s*"|\[\s*[{"[])/.test(answer) || !/\bjson\b/i.test(prompt))
    return [];
  if (answer.length > LONGEST_CODE || !/[\]}]\s*$/.test(answer)) return [];
  const problem = jsonProblem(answer, 'json');
  return problem === null ? [] : [problemVerdict(problem, 'json', 0)];
}
