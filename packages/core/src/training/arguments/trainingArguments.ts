import { z } from 'zod';
import type { ComputeDType } from '../../backend/dtype.js';
import type { CheckpointingOptions } from '../../models/languageModel.js';
import { coreSchedules } from '../../optim/builtinSchedules.js';
import type { ScheduleDefinition } from '../../optim/scheduleDefinition.js';
import type { SchedulerKwargs, SchedulerType } from '../../optim/schedulers.js';
import { parseBytes } from '../../util/bytes.js';
import { camelToSnake, isPlainObject, keysToCamel, snakeToCamel } from '../../util/json.js';
import { dropAbsentOptions } from './absentOptions.js';
import { checkTogether } from './checkTogether.js';
import type { Resume } from './choices.js';
import { LENGTH_COLUMN, NON_FINITE, type NonFinite } from './choices.js';
import { checkIsObject, parseArguments } from './parseArguments.js';
import { resolveSampling, SAMPLING_STRATEGIES, type SamplingStrategy } from './sampling.js';
import { readSchedulerKwargs } from './schedulerKwargs.js';

export type IntervalStrategy = 'no' | 'steps' | 'epoch';

export type OptimArgs = string | Readonly<Record<string, string | number | boolean>>;

/**
 * How to train. Names and defaults are those of transformers' TrainingArguments; snake_case is
 * understood too. An "update" is one change of the parameters, after `gradientAccumulationSteps`
 * micro-batches.
 */
export interface TrainingArguments {
  /** Folder of the checkpoints. Default "trainer_output". */
  readonly outputDir: string;
  /** Passes over the training rows; may be fractional. Default 3. */
  readonly numTrainEpochs: number;
  /** Updates to do, whatever `numTrainEpochs` says; -1: by epochs. Default -1. */
  readonly maxSteps: number;
  /** Rows of a micro-batch. Default 8. */
  readonly perDeviceTrainBatchSize: number;
  /**
   * Halve perDeviceTrainBatchSize until an update of the longest rows fits into the device's memory (and into
   * maxMemory), before training begins; all else stays as it is. A run that resumes takes the size of its
   * checkpoint. Default false.
   */
  readonly autoFindBatchSize: boolean;
  /** Rows of a batch in evaluation. Default 8. The result does not depend on it. */
  readonly perDeviceEvalBatchSize: number;
  /** Micro-batches of one update; the same gradient as one batch of all their rows. Default 1. */
  readonly gradientAccumulationSteps: number;
  /** Highest learning rate. Default 5e-5 (SFTTrainer: 2e-5). With LoRA usually ten times as much. */
  readonly learningRate: number;
  /** Decoupled weight decay of everything but biases and norms. Default 0. */
  readonly weightDecay: number;
  /** Decay rate of AdamW's first moment. Default 0.9. */
  readonly adamBeta1: number;
  /** Decay rate of AdamW's second moment. Default 0.999. */
  readonly adamBeta2: number;
  /** Added to the root of AdamW's second moment. Default 1e-8. */
  readonly adamEpsilon: number;
  /**
   * The optimizer: "adamw_torch" (also "adamw", "adamw_torch_fused"), "adamw_bnb_8bit" (also "adamw_8bit"),
   * "sgd", "lion_32bit" (also "lion"), "adafactor", or one that a plugin added to `Optimizers`. Default "adamw_torch".
   */
  readonly optim: string;
  /** Further options of the optimizer: "momentum=0.9,nesterov=true", or the same as an object. Default "". */
  readonly optimArgs: OptimArgs;
  /** Largest L2 norm of the gradient; 0: no clipping. Default 1. */
  readonly maxGradNorm: number;
  /**
   * Label smoothing e: the loss is 1 - e times -log p(label) plus e times the mean of -log p over the
   * vocabulary. Also in evaluation, as in transformers. Default 0.
   */
  readonly labelSmoothingFactor: number;
  /** NEFTune: noise of this strength on the embeddings while training, 5 to 15 in the paper; null: none. Default null. */
  readonly neftuneNoiseAlpha: number | null;
  /**
   * What to do about an update whose loss or gradient is not finite. The device never applies it, and it is
   * never averaged in. "skip": go on, count it in `skippedSteps`. "stop": no later update changes anything;
   * the run ends with NON_FINITE, which names the update. "rollback": go back to the last checkpoint (one is
   * written at the start) and on with the rows after the bad update, at most three times from one checkpoint.
   * Found at the next log, evaluation or checkpoint or at the end: nothing waits for the device before.
   * Default "skip".
   */
  readonly nonFinite: NonFinite;
  /** Keep the input of each layer alone and compute the layer again in the backward pass: less memory, more time. Default false. */
  readonly gradientCheckpointing: boolean;
  /** `everyNLayers`: keep the input of every n-th layer. Default {}: of each. */
  readonly gradientCheckpointingKwargs: CheckpointingOptions;
  /**
   * Bytes that training may hold on the device, or text such as "8GiB" or "8GB". Checked before the
   * first update against `planMemory()`: an error says what would make it fit. WebGPU does not say how
   * much memory a device has, so the default is null: no limit. While it trains, buffers that are kept for
   * reuse go before the limit is passed.
   */
  readonly maxMemory: number | null;
  /**
   * Mixed precision: products round their operands to bfloat16 and add up in float32; all else, the
   * trained weights too, is float32. Also in evaluation. Default false.
   */
  readonly bf16: boolean;
  /** The same with float16, which matrix units are fastest at, and a dynamic loss scale (LossScaler). Default false. */
  readonly fp16: boolean;
  /**
   * How the rate moves over the run: "cosine", "constant_with_warmup", ..., or a schedule that a plugin added to
   * `LearningRateSchedules`. Default "linear": to zero.
   */
  readonly lrSchedulerType: SchedulerType | (string & {});
  /** Options of the schedule by name, e.g. `{ numDecaySteps: 100 }`; each schedule takes its own. Default {}. */
  readonly lrSchedulerKwargs: SchedulerKwargs & Readonly<Record<string, unknown>>;
  /** Updates of linear warmup from 0; below 1, a share of all updates. Before `warmupRatio`. Default 0. */
  readonly warmupSteps: number;
  /** Share of all updates that are warmup, rounded up. Default 0. */
  readonly warmupRatio: number;
  /** When to log. Default "steps". */
  readonly loggingStrategy: IntervalStrategy;
  /** Updates between two logs; the only regular reading back from the device. Default 500 (SFTTrainer: 10). */
  readonly loggingSteps: number;
  /** Log the first update too. Default false. */
  readonly loggingFirstStep: boolean;
  /** Add `numInputTokensSeen`, tokens without padding, to the rows of the log. Default "no". */
  readonly includeNumInputTokensSeen: 'no' | 'non_padding';
  /**
   * Trackers by name: "tensorboard", "wandb", "mlflow", "jsonl", "html", those of plugins (any callback that
   * has a name); "all": those that write files, which leaves out mlflow. Default: none.
   */
  readonly reportTo: readonly string[];
  /** What trackers call the run. Default null: outputDir, or a name of their own. */
  readonly runName: string | null;
  /** Where trackers write. Default null: outputDir; TensorBoard into `runs/<date>_<host>` below it. */
  readonly loggingDir: string | null;
  /** false: a progress bar. Default true. */
  readonly disableTqdm: boolean;
  /** When to evaluate. Default "no". */
  readonly evalStrategy: IntervalStrategy;
  /** Updates between two evaluations. Default: loggingSteps. */
  readonly evalSteps: number;
  /** Evaluate before the first update too. Default false. */
  readonly evalOnStart: boolean;
  /** No evaluation before this many updates (evalStrategy "steps") or epochs ("epoch"). Default 0. */
  readonly evalDelay: number;
  /** When to write a checkpoint; "best": when an evaluation was the best so far. Default "steps". */
  readonly saveStrategy: IntervalStrategy | 'best';
  /** Updates between two checkpoints. Default 500. */
  readonly saveSteps: number;
  /** Checkpoints to keep, the latest and the best always among them; null: all. Default null. */
  readonly saveTotalLimit: number | null;
  /** Checkpoints without optimizer, schedule and random numbers: small, but nothing to resume from. Default false. */
  readonly saveOnlyModel: boolean;
  /** Load the weights of the best evaluation when the run is over. Default false. */
  readonly loadBestModelAtEnd: boolean;
  /** Which evaluation metric decides what is best: "loss", "evalLoss" and "eval_loss" are the same. Default: the loss, if loadBestModelAtEnd. */
  readonly metricForBestModel: string | null;
  /** Whether more of that metric is better. Default: true, unless its name ends in "loss" or "perplexity". */
  readonly greaterIsBetter: boolean;
  /** Seed of the order of rows, of dropout and of new adapters. Default 42. */
  readonly seed: number;
  /** Tokens of a row beyond which its end is cut off; null: what the model allows. Default null (SFTTrainer: 1024). */
  readonly maxLength: number | null;
  /** Seed of the order of rows; null: `seed`. Default null. */
  readonly dataSeed: number | null;
  /**
   * "random": a fresh order of rows each epoch; "sequential": the order of the file;
   * "group_by_length": random, but rows of about the same length come together (`lengthGroupedOrder`).
   * A stream comes in its own order. Default "random".
   */
  readonly trainSamplingStrategy: SamplingStrategy;
  /** The older name of `trainSamplingStrategy: "group_by_length"`. Default false. */
  readonly groupByLength: boolean;
  /**
   * The column with the lengths to group rows by, where every row has one; null, or where no row has
   * "length": tokens are counted, as they are for packed rows. Default "length".
   */
  readonly lengthColumnName: string | null;
  /** false: `trainSamplingStrategy: "sequential"`. Default true. */
  readonly shuffle: boolean;
  /** Updates whose rows are read and tokenised from a stream while the device works on those before. Default 2. */
  readonly dataloaderPrefetchFactor: number;
  /** Leave out a last micro-batch that is not full. Default false. */
  readonly dataloaderDropLast: boolean;
  /**
   * What `train()` without options resumes from: a checkpoint folder, true for the latest, "if-present" for the
   * latest if there is one, false for none. Default false.
   */
  readonly resumeFromCheckpoint: Resume;
  /** On resume, give callbacks what the checkpoint kept of them. Default true. */
  readonly restoreCallbackStatesFromCheckpoint: boolean;
}

/**
 * Every option may be left out. Over `keyof T` alone: a mapped type over any other set of keys loses the
 * documentation of the properties, and an editor would show none.
 */
export type Optional<T> = { readonly [K in keyof T]?: T[K] | undefined };

/** Options that a user may write otherwise than they are read. */
interface WrittenArguments {
  /**
   * Trackers by name: "tensorboard", "wandb", "mlflow", "jsonl", "html", those of plugins (any callback that
   * has a name); "all": those that write files, which leaves out mlflow; null or "none": none. Default: none.
   */
  readonly reportTo: string | readonly string[] | null;
  /** Add `numInputTokensSeen`, tokens without padding, to the rows of the log: true or "non_padding". Default "no". */
  readonly includeNumInputTokensSeen: boolean | 'no' | 'non_padding';
  /**
   * Bytes that training may hold on the device, or text such as "8GiB" or "8GB". Checked before the
   * first update against `planMemory()`: an error says what would make it fit. WebGPU does not say how
   * much memory a device has. Default null: no limit.
   */
  readonly maxMemory: number | string | null;
}

/** What a user writes: every option may be left out. */
export type TrainingArgumentsInput = Optional<Omit<TrainingArguments, keyof WrittenArguments>> &
  Optional<WrittenArguments>;

const count = z.int().min(1);
const strategy = z.enum(['no', 'steps', 'epoch']);

/** Keys and values as users write them. Extend it for a trainer with options of its own. */
export const trainingArgumentsSchema = z.strictObject({
  outputDir: z.string().min(1).default('trainer_output'),
  numTrainEpochs: z.number().positive().default(3),
  maxSteps: z
    .int()
    .refine((n) => n === -1 || n > 0, 'expected -1 or a count of at least 1')
    .default(-1),
  perDeviceTrainBatchSize: count.default(8),
  autoFindBatchSize: z.boolean().default(false),
  perDeviceEvalBatchSize: count.default(8),
  gradientAccumulationSteps: count.default(1),
  learningRate: z.number().min(0).default(5e-5),
  weightDecay: z.number().min(0).default(0),
  adamBeta1: z.number().min(0).lt(1).default(0.9),
  adamBeta2: z.number().min(0).lt(1).default(0.999),
  adamEpsilon: z.number().min(0).default(1e-8),
  optim: z.string().min(1).default('adamw_torch'),
  optimArgs: z
    .union([z.string(), z.record(z.string(), z.union([z.string(), z.number(), z.boolean()]))])
    .default(''),
  maxGradNorm: z.number().min(0).default(1),
  labelSmoothingFactor: z.number().min(0).lt(1).default(0),
  neftuneNoiseAlpha: z.number().min(0).nullable().default(null),
  nonFinite: z.enum(NON_FINITE).default('skip'),
  gradientCheckpointing: z.boolean().default(false),
  gradientCheckpointingKwargs: z
    .preprocess(
      (value) => (isPlainObject(value) ? keysToCamel(value) : value),
      z.strictObject({
        everyNLayers: count.optional(),
        /** How torch does it; the results are the same. */
        useReentrant: z.boolean().optional(),
      }),
    )
    .transform(({ everyNLayers }) => ({ everyNLayers }))
    .default({ everyNLayers: 1 }),
  maxMemory: z
    .union([z.number().positive(), z.string().min(1)])
    .nullable()
    .default(null),
  bf16: z.boolean().default(false),
  fp16: z.boolean().default(false),
  lrSchedulerType: z.string().min(1).default('linear'),
  /** Checked by the schedule itself, see readSchedulerKwargs. */
  lrSchedulerKwargs: z.record(z.string(), z.unknown()).default({}),
  warmupSteps: z
    .number()
    .min(0)
    .refine((n) => n < 1 || Number.isInteger(n), 'expected a whole number, or a share below 1')
    .default(0),
  warmupRatio: z.number().min(0).max(1).default(0),
  loggingStrategy: strategy.default('steps'),
  loggingSteps: count.default(500),
  loggingFirstStep: z.boolean().default(false),
  includeNumInputTokensSeen: z
    .union([z.boolean(), z.enum(['no', 'non_padding'])])
    .default('no')
    .transform((value) => (value === true || value === 'non_padding' ? 'non_padding' : 'no')),
  reportTo: z
    .union([z.string().min(1), z.array(z.string().min(1))])
    .nullable()
    .default(null)
    .transform((value) => (value === null ? [] : [value].flat().filter((name) => name !== 'none'))),
  runName: z.string().min(1).nullable().default(null),
  loggingDir: z.string().min(1).nullable().default(null),
  disableTqdm: z.boolean().default(true),
  evalStrategy: strategy.default('no'),
  evalSteps: count.optional(),
  evalOnStart: z.boolean().default(false),
  evalDelay: z.number().min(0).default(0),
  saveStrategy: z.enum(['no', 'steps', 'epoch', 'best']).default('steps'),
  saveSteps: count.default(500),
  saveTotalLimit: count.nullable().default(null),
  saveOnlyModel: z.boolean().default(false),
  loadBestModelAtEnd: z.boolean().default(false),
  metricForBestModel: z.string().min(1).nullable().default(null),
  greaterIsBetter: z.boolean().optional(),
  seed: z.int().min(0).default(42),
  maxLength: z.int().min(2).nullable().default(null),
  dataSeed: z.int().min(0).nullable().default(null),
  trainSamplingStrategy: z.enum(SAMPLING_STRATEGIES).optional(),
  groupByLength: z.boolean().default(false),
  lengthColumnName: z.string().min(1).nullable().default(LENGTH_COLUMN),
  shuffle: z.boolean().default(true),
  dataloaderPrefetchFactor: z
    .int()
    .min(0)
    .nullish()
    .transform((n) => n ?? 2),
  dataloaderDropLast: z.boolean().default(false),
  resumeFromCheckpoint: z
    .custom<Resume>((v) => typeof v === 'boolean' || (typeof v === 'string' && v !== ''), {
      error: 'expected true, false, "if-present" or a checkpoint folder',
    })
    .default(false),
  restoreCallbackStatesFromCheckpoint: z.boolean().default(true),
});

/** What products compute in. */
export const computeDTypeOf = ({ bf16, fp16 }: TrainingArguments): ComputeDType =>
  fp16 ? 'float16' : bf16 ? 'bfloat16' : 'float32';

/** ("eval", "loss") -> "evalLoss"; ("evalMath", "rewards/margins") -> "eval_math_rewards/margins". */
export function metricName(prefix: string, metric: string): string {
  if (metric.includes('/')) return `${camelToSnake(prefix)}_${metric}`;
  const name = snakeToCamel(metric);
  return `${prefix}${name[0]!.toUpperCase()}${name.slice(1)}`;
}

/** "loss", "eval_loss", "evalLoss" -> "evalLoss"; "rewards/margins" -> "eval_rewards/margins". */
export const evalName = (metric: string): string =>
  metricName('eval', metric.replace(/^eval_/, '').replace(/^eval(?=[A-Z])/, ''));

/**
 * Checks arguments, fills in defaults.
 *
 * @param schema `trainingArgumentsSchema`, or an extension of it
 * @param defaults what this trainer has instead of the general defaults
 * @param schedules what `lrSchedulerType` may name. Default: those of core
 * @throws ARGUMENTS_INVALID with the option in the user's spelling, its value and what is allowed;
 *   UNKNOWN_NAME for a schedule that nobody added; OPTION_ABSENT for an option of transformers that is not here yet
 */
export function parseTrainingArguments<S extends z.ZodObject>(
  schema: S,
  input: Readonly<Record<string, unknown>>,
  defaults: Readonly<Record<string, unknown>> = {},
  schedules: { get(name: string): ScheduleDefinition } = coreSchedules,
): z.output<S> & TrainingArguments {
  checkIsObject(input);
  const { kept, refused } = dropAbsentOptions(withoutNone(input), schema.shape);
  const parsed = parseArguments(schema, kept, defaults, refused) as z.output<S> & RawArguments;
  const { loadBestModelAtEnd } = parsed;
  const schedule = schedules.get(parsed.lrSchedulerType);
  const metric =
    parsed.metricForBestModel ??
    (loadBestModelAtEnd || parsed.saveStrategy === 'best' || schedule.follows === 'metric'
      ? 'loss'
      : null);
  const trainSamplingStrategy = resolveSampling(parsed);
  const args = {
    ...parsed,
    lrSchedulerKwargs: readSchedulerKwargs(schedule, parsed.lrSchedulerKwargs),
    trainSamplingStrategy,
    groupByLength: trainSamplingStrategy === 'group_by_length',
    shuffle: trainSamplingStrategy !== 'sequential',
    maxMemory: parsed.maxMemory === null ? null : parseBytes(parsed.maxMemory, 'maxMemory'),
    evalSteps: parsed.evalSteps ?? parsed.loggingSteps,
    metricForBestModel: metric === null ? null : evalName(metric),
    greaterIsBetter: parsed.greaterIsBetter ?? !/(loss|perplexity)$/i.test(metric ?? 'loss'),
  };
  checkTogether(args, schedule);
  return args;
}

/** Options whose default is None in transformers: there null leaves them out. */
const noneIsDefault: ReadonlySet<string> = new Set([
  ...['outputDir', 'lrSchedulerKwargs', 'gradientCheckpointingKwargs', 'optimArgs', 'bf16'],
  ...['disableTqdm', 'evalSteps', 'greaterIsBetter', 'resumeFromCheckpoint'],
]);

const withoutNone = (input: Readonly<Record<string, unknown>>): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(input).filter(
      ([key, value]) => value !== null || !noneIsDefault.has(snakeToCamel(key)),
    ),
  );

type RawArguments = z.output<typeof trainingArgumentsSchema>;
