import { z } from 'zod';
import type { ComputeDType } from '../../backend/dtype.js';
import { coreSchedules } from '../../optim/builtinSchedules.js';
import type { ScheduleDefinition } from '../../optim/scheduleDefinition.js';
import { snakeToCamel } from '../../util/json.js';
import type { FilledOptions, OptionsInput } from '../../util/options.js';
import { dropAbsentOptions } from './absentOptions.js';
import { checkTogether } from './checkTogether.js';
import { evaluation } from './evaluation.js';
import { memory } from './memory.js';
import { evalName } from './metricName.js';
import { optimization } from './optimization.js';
import { checkIsObject, parseArguments } from './parseArguments.js';
import { reporting } from './reporting.js';
import { rowOrder } from './rowOrder.js';
import { resolveSampling, withoutOrder } from './sampling.js';
import { saving } from './saving.js';
import { readSchedulerKwargs } from './schedulerKwargs.js';

/**
 * How to train, every argument filled in. Names and defaults are those of transformers'
 * TrainingArguments. An "update" is one change of the parameters, after `gradientAccumulationSteps`
 * micro-batches.
 */
export type TrainingArguments = FilledOptions<typeof optimization> &
  FilledOptions<typeof memory> &
  FilledOptions<typeof reporting> &
  FilledOptions<typeof evaluation> &
  FilledOptions<typeof saving> &
  FilledOptions<typeof rowOrder>;

/** What a user writes: every argument may be left out, and snake_case is understood too. */
export type TrainingArgumentsInput = OptionsInput<typeof optimization> &
  OptionsInput<typeof memory> &
  OptionsInput<typeof reporting> &
  OptionsInput<typeof evaluation> &
  OptionsInput<typeof saving> &
  OptionsInput<typeof rowOrder>;

/** Keys and values as users write them. Extend it for a trainer with options of its own. */
export const trainingArgumentsSchema = z.strictObject({
  ...optimization,
  ...memory,
  ...reporting,
  ...evaluation,
  ...saving,
  ...rowOrder,
});

/** What products compute in. */
export const computeDTypeOf = ({ bf16, fp16 }: TrainingArguments): ComputeDType =>
  fp16 ? 'float16' : bf16 ? 'bfloat16' : 'float32';

/**
 * Checks arguments, fills in defaults.
 *
 * @param schema `trainingArgumentsSchema`, or an extension of it
 * @param defaults what this trainer has instead of the general defaults
 * @param schedules what `lrSchedulerType` may name. Default: those of core
 * @throws UNKNOWN_OPTION with the right name; ARGUMENTS_INVALID with the option in the user's
 *   spelling, its value and what is allowed; UNKNOWN_NAME for a schedule that nobody added;
 *   OPTION_ABSENT for an option of transformers that is not here yet
 */
export function parseTrainingArguments<S extends z.ZodObject>(
  schema: S,
  input: Readonly<Record<string, unknown>>,
  defaults: Readonly<Record<string, unknown>> = {},
  schedules: { get(name: string): ScheduleDefinition } = coreSchedules,
): z.output<S> & TrainingArguments {
  checkIsObject(input);
  const { kept, refused } = dropAbsentOptions(withoutNone(input, schema), schema.shape);
  const own = withoutOrder(defaults, kept);
  const parsed = parseArguments(schema, kept, own, refused) as z.output<S> & Parsed;
  const schedule = schedules.get(parsed.lrSchedulerType);
  const metric =
    parsed.metricForBestModel ??
    (parsed.loadBestModelAtEnd || parsed.saveStrategy === 'best' || schedule.follows === 'metric'
      ? 'loss'
      : null);
  const trainSamplingStrategy = resolveSampling(parsed);
  const args = {
    ...parsed,
    lrSchedulerKwargs: readSchedulerKwargs(schedule, parsed.lrSchedulerKwargs),
    trainSamplingStrategy,
    groupByLength: trainSamplingStrategy === 'group_by_length',
    shuffle: trainSamplingStrategy !== 'sequential',
    evalSteps: parsed.evalSteps ?? parsed.loggingSteps,
    metricForBestModel: metric === null ? null : evalName(metric),
    greaterIsBetter: parsed.greaterIsBetter ?? !/(loss|perplexity)$/i.test(metric ?? 'loss'),
  };
  checkTogether(args, schedule);
  return args;
}

type Parsed = z.output<typeof trainingArgumentsSchema>;

/**
 * Where the default is None in transformers (`noneIsDefault` in the schema), null leaves an option
 * out.
 */
const withoutNone = (
  input: Readonly<Record<string, unknown>>,
  { shape }: z.ZodObject,
): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(input).filter(([key, value]) => {
      const option = shape[snakeToCamel(key)] as z.ZodType | undefined;
      return value !== null || option?.meta()?.noneIsDefault !== true;
    }),
  );
