import { AttuneError, describeValue, isPlainObject, parseOptions } from '@attune/core/util';
import type { z } from 'zod';
import { Asking } from '../providers/asking.js';
import { orderedMap } from '../providers/orderedMap.js';
import type { ProviderChoice } from '../providers/providerChoice.js';
import type { LLMSpending } from '../providers/spending.js';
import { type JudgeManner, judgePair, judgeScore } from './askJudge.js';
import { type JudgeOptions, judgeOptions } from './judgeOptions.js';
import { type PairReport, type PairsOfRow, pairReport } from './pairReport.js';
import { type ScoreReport, type ScoresOfRow, scoreReport } from './scoreReport.js';

/** What is judged: a request, and what each model answered to it. */
export interface JudgeRow {
  readonly prompt: string;
  /** Answers by the names of those who gave them: `{ base: '...', tuned: '...' }`. */
  readonly answers: Readonly<Record<string, string>>;
  /** An answer that is known to be right, for the judge alone. */
  readonly reference?: string | null;
}

interface Spent {
  /** What each judge took. */
  readonly spent: readonly ({ readonly judge: string } & LLMSpending)[];
  /** Requests that judges' providers refused for their texts. What they were about is unparsed. */
  readonly refused: number;
}

/** What `judge` gives: by `mode`. */
export type JudgeReport = (PairReport | ScoreReport) & Spent;

/**
 * Lets a model judge answers: which of two is better, in both orders, or how good each is from 1 to
 * 10. Rows are judged with as many requests at once as the provider takes; the report is the same
 * whatever the order they come back in.
 *
 * Words of a judge that hold no verdict are asked for again, then counted as unparsed: never as a
 * tie; so are requests that are refused for their texts (`onRefusal`). What concerns all requests
 * ends it with the provider's error; with `cache` the next run goes on.
 *
 * @param rows every one with the same names of answers: two of them for "pairwise"
 * @throws DATA_JUDGE_ROW; UNKNOWN_OPTION, INVALID_OPTION; what the provider throws
 * @see Zheng et al., "Judging LLM-as-a-judge with MT-Bench and Chatbot Arena", arXiv:2306.05685
 * @example
 * const report = await judge(rows, { provider, mode: 'pairwise' });
 * if (report.mode === 'pairwise') console.log(report.winRates.tuned); // { value, low, high }
 */
export async function judge(
  rows: Iterable<JudgeRow> | AsyncIterable<JudgeRow>,
  options: JudgeOptions,
): Promise<JudgeReport> {
  const parsed = parseOptions(judgeOptions, options, { where: 'judge' });
  const choices = [parsed.provider].flat() as ProviderChoice[];
  const judges = choices.map(
    (choice) =>
      new Asking(choice, {
        attune: parsed.attune ?? null,
        cache: parsed.cache ?? null,
        signal: parsed.signal ?? null,
        where: 'judge',
        refusalEnds: parsed.onRefusal === 'end',
      }),
  );
  const report =
    parsed.mode === 'pairwise'
      ? await judgePairs(rows, judges, parsed)
      : await judgeScores(rows, judges, parsed);
  const spent = judges.map(({ provider, spent: each }) => ({ judge: provider.name, ...each }));
  const refused = judges.reduce((sum, each) => sum + each.refused, 0);
  return { ...report, spent, refused };
}

type Parsed = z.output<typeof judgeOptions>;

const concurrencyOf = (judges: readonly Asking[]): number =>
  Math.max(...judges.map(({ provider }) => provider.maxConcurrent));

const mannerOf = ({ temperature, maxTokens, seed, maxParseRetries }: Parsed): JudgeManner => ({
  temperature,
  maxTokens,
  seed,
  maxParseRetries,
});

async function judgePairs(
  rows: Iterable<JudgeRow> | AsyncIterable<JudgeRow>,
  judges: readonly Asking[],
  options: Parsed,
): Promise<PairReport> {
  const manner = mannerOf(options);
  const checked = checkRows(rows, 2);
  const results: PairsOfRow[] = [];
  const judged = orderedMap(checked, concurrencyOf(judges), async ({ row, names }) => {
    const [one, other] = names.map((name) => row.answers[name]!) as [string, string];
    const shown = shownOf(row, options);
    const judgings = await Promise.all(
      judges.map((each) =>
        Promise.all([
          judgePair(each, shown, [one, other], manner),
          options.swap ? judgePair(each, shown, [other, one], manner) : null,
        ]),
      ),
    );
    return { names: names as readonly [string, string], judgings };
  });
  for await (const result of judged) {
    results.push(result);
    options.onProgress?.({ done: results.length });
  }
  return pairReport(results, options);
}

async function judgeScores(
  rows: Iterable<JudgeRow> | AsyncIterable<JudgeRow>,
  judges: readonly Asking[],
  options: Parsed,
): Promise<ScoreReport> {
  const manner = mannerOf(options);
  const results: ScoresOfRow[] = [];
  const judged = orderedMap(
    checkRows(rows, null),
    concurrencyOf(judges),
    async ({ row, names }): Promise<ScoresOfRow> => {
      const shown = shownOf(row, options);
      const findings = await Promise.all(
        names.map((name) =>
          Promise.all(judges.map((each) => judgeScore(each, shown, row.answers[name]!, manner))),
        ),
      );
      return { names, findings };
    },
  );
  for await (const result of judged) {
    results.push(result);
    options.onProgress?.({ done: results.length });
  }
  return scoreReport(results, options);
}

const shownOf = ({ prompt, reference = null }: JudgeRow, { criteria }: Parsed) => ({
  prompt,
  reference,
  criteria,
});

/** @throws DATA_JUDGE_ROW */
async function* checkRows(
  rows: Iterable<JudgeRow> | AsyncIterable<JudgeRow>,
  count: number | null,
): AsyncGenerator<{ readonly row: JudgeRow; readonly names: readonly string[] }> {
  let names: readonly string[] | null = null;
  let index = 0;
  for await (const row of rows) {
    const wrong = (found: string) =>
      new AttuneError('DATA_JUDGE_ROW', `judge: row ${index} ${found}.`, {
        remedy: `A row is { prompt, answers: { ${count === 2 ? 'base: text, tuned: text' : 'tuned: text'} }, reference? }, with the same names everywhere.`,
        details: { row: index },
      });
    if (!isPlainObject(row) || typeof row.prompt !== 'string')
      throw wrong(`has no text "prompt": it is ${describeValue(row)}`);
    if (!isPlainObject(row.answers)) throw wrong('has no object "answers"');
    const own = Object.keys(row.answers);
    const noText = own.find((name) => typeof row.answers[name] !== 'string');
    if (noText !== undefined) throw wrong(`has no text as the answer of "${noText}"`);
    if (own.length === 0 || (count !== null && own.length !== count))
      throw wrong(`has ${own.length} answers${count === null ? '' : `; ${count} are compared`}`);
    names ??= own;
    const missing = names.find((name) => !own.includes(name));
    if (missing !== undefined || own.length !== names.length)
      throw wrong(`has answers of ${own.join(', ')}; row 0 has those of ${names.join(', ')}`);
    yield { row, names };
    index++;
  }
  if (index === 0)
    throw new AttuneError('DATA_JUDGE_ROW', 'judge: there are no rows.', {
      remedy: 'Give it { prompt, answers: { base: text, tuned: text } } for each request.',
    });
}
