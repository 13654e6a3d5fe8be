import { type Attune, AttuneError, type Row } from '@attune/core';
import {
  hintsOf,
  isPlainObject,
  type OptionsInput,
  parseOptions,
  snakeToCamel,
} from '@attune/core/util';
import { z } from 'zod';
import { defineDataStage } from '../contract/dataStage.js';
import { inFiles } from '../contract/inFiles.js';
import { stageFunction } from '../pipeline/stageFunction.js';
import { type BuiltinChecks, builtinChecks } from './builtinChecks.js';
import { type QualityCheck, QualityChecks, type QualityContext } from './qualityCheck.js';
import { type RunningCheck, runChecks } from './runChecks.js';

/** What every check takes beside its own options. */
export interface CheckRule {
  /**
   * Rows with a lower score are dropped. From 0 (nothing) to 1 (all that the check finds). Default
   * 0.5, unless the check says otherwise.
   */
  readonly minScore?: number;
}

/**
 * A check: its name, its name with options, or one that `defineQualityCheck` made. Names of
 * plugins' checks are known where the pipeline has an Attune.
 */
export type QualityCheckOption =
  | keyof BuiltinChecks
  | {
      [Name in keyof BuiltinChecks]: { readonly name: Name } & CheckRule & BuiltinChecks[Name];
    }[keyof BuiltinChecks]
  | QualityCheck
  | (string & {})
  | ({ readonly name: string & {} } & CheckRule & Readonly<Record<string, unknown>>);

const reader = z.custom<(row: Row) => string | null>(
  (value) => typeof value === 'function',
  'expected a function of a row',
);

const qualityShape = {
  /**
   * The checks, in the order in which they judge a row: names, or names with options. The first
   * that refuses a row gives the reason.
   */
  checks: inFiles(
    z
      .array(
        z.custom<QualityCheckOption>(
          (value) =>
            typeof value === 'string' || (isPlainObject(value) && typeof value.name === 'string'),
          'expected a name such as "completeness", or { name, ...options }',
        ),
      )
      .min(1, 'expected at least one check, such as "completeness"'),
    { read: checkedOfFile },
  ).meta({ aka: 'filters' }),
  /**
   * 'drop' leaves out rows whose score is below the `minScore` of a check. 'score' leaves out
   * nothing and adds two columns for each check: `quality_<check>`, the score, and
   * `quality_<check>_reason`, what was found or null. Default 'drop'.
   */
  mode: z.enum(['drop', 'score']).default('drop'),
  /** What is asked in a row of a format that is not known. Default: known columns, see the docs. */
  prompt: reader.optional(),
  /** The answer in a row of a format that is not known. Default: known columns, see the docs. */
  answer: reader.optional(),
};

/** Options of {@link quality}. */
export type QualityOptions = OptionsInput<typeof qualityShape>;

/** Judges rows by checks; each gives a score and a reason. */
export const qualityStage = defineDataStage({
  name: 'quality',
  options: z.strictObject(qualityShape),
  async *run(rows, { checks, mode, prompt, answer }, context) {
    const running = checks.map((option, i) => startCheck(option, i, context));
    refuseTwins(running);
    const reading = { ...(prompt && { prompt }), ...(answer && { answer }) };
    yield* runChecks(rows, running, { isScoring: mode === 'score', reading }, context);
  },
});

/**
 * Judges rows by checks: `completeness`, `accuracy`, `consistency`, `diversity`, `harmlessness`,
 * `language`, and those of plugins. A check gives each row a score from 0 to 1 and a reason.
 *
 * @example
 * const rows = [{ prompt: 'Which city?', completion: 'TODO' }];
 * const { dropped } = await quality(rows, { checks: ['completeness', 'harmlessness'] });
 * // dropped[0].reason is 'placeholder'
 */
export const quality = stageFunction<QualityOptions>(qualityStage);

/** Checks of a file as they are, known and with options that are right. */
function checkedOfFile(value: unknown, attune: Attune | null): unknown {
  if (!Array.isArray(value)) return value;
  for (const [i, option] of value.entries())
    if (typeof option === 'string' || (isPlainObject(option) && typeof option.name === 'string'))
      checked(option as QualityCheckOption, i, attune);
  return value;
}

function startCheck(option: QualityCheckOption, i: number, context: QualityContext): RunningCheck {
  const { check, options, minScore } = checked(option, i, context.attune);
  const started = check.start(options, context);
  const judge =
    typeof started === 'function'
      ? { judge: (all: Parameters<typeof started>[0][]) => all.map(started) }
      : started;
  return { name: check.name, minScore, judge: judge as RunningCheck['judge'] };
}

/** A check with its options, complete. @throws DATA_CHECK_UNKNOWN, and for wrong options */
function checked(option: QualityCheckOption, i: number, attune: Attune | null) {
  const { check, given } = resolve(option, i, attune);
  const { minScore, ...options } = given;
  const where = `quality: checks[${i}] (${check.name})`;
  const rule = z
    .number('expected a number from 0 to 1')
    .min(0)
    .max(1)
    .default(check.minScore ?? 0.5);
  const parsedRule = parseOptions(z.strictObject({ minScore: rule }), { minScore }, { where });
  return {
    check,
    options: parseOptions(check.options, options, { where }),
    minScore: parsedRule.minScore,
  };
}

interface Resolved {
  readonly check: QualityCheck;
  readonly given: Readonly<Record<string, unknown>>;
}

/** @throws DATA_CHECK_UNKNOWN */
function resolve(option: QualityCheckOption, i: number, attune: Attune | null): Resolved {
  if (typeof option === 'object' && 'start' in option && typeof option.start === 'function')
    return { check: option as QualityCheck, given: {} };
  const { name, ...rest } = (typeof option === 'string' ? { name: option } : option) as {
    readonly name: string;
  };
  const check = checkNamed(name, attune);
  if (check === undefined) throw unknownCheck(name, i, attune);
  // A pipeline in YAML may write min_score.
  const { known } = hintsOf(check.options);
  const names = new Set([...known, 'minScore']);
  const given = Object.entries(rest).map(([key, value]) => {
    const camel = snakeToCamel(key);
    return [names.has(camel) ? camel : key, value] as const;
  });
  return { check, given: Object.fromEntries(given) };
}

const addedChecks = (attune: Attune | null): QualityCheck[] =>
  attune?.registry(QualityChecks).values() ?? [];

const checkNamed = (name: string, attune: Attune | null): QualityCheck | undefined =>
  [...builtinChecks, ...addedChecks(attune)].findLast((check) => check.name === name);

function unknownCheck(name: string, i: number, attune: Attune | null): AttuneError {
  const known = new Set([...builtinChecks, ...addedChecks(attune)].map((check) => check.name));
  return new AttuneError(
    'DATA_CHECK_UNKNOWN',
    `quality: checks[${i}] is "${name}"; no check has that name.`,
    {
      remedy: `Known: ${[...known].join(', ')}. ${attune ? 'A plugin adds another one to QualityChecks.' : 'Checks of plugins need an Attune: pass it as a service of the stage or the pipeline.'}`,
    },
  );
}

/** @throws INVALID_OPTION for two checks of one name, whose columns would be one */
function refuseTwins(running: readonly RunningCheck[]): void {
  const twin = running.find(({ name }, i) => running.findIndex((c) => c.name === name) < i);
  if (twin === undefined) return;
  throw new AttuneError('INVALID_OPTION', `quality: checks names "${twin.name}" twice.`, {
    remedy: 'Name it once, or use the stage twice.',
  });
}
