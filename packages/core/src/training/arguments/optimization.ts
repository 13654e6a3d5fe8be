import { z } from 'zod';
import type { SchedulerKwargs, SchedulerType } from '../../optim/schedulers.js';
import { NON_FINITE } from './choices.js';
import { count } from './kinds.js';

export type OptimArgs = string | Readonly<Record<string, string | number | boolean>>;

/** A name of core, for the editor, or any that a plugin added. */
type Schedule = SchedulerType | (string & {});

/** Checked by the schedule itself: readSchedulerKwargs. */
type ScheduleOptions = SchedulerKwargs & Readonly<Record<string, unknown>>;

/** How long, in what batches, by which optimizer and at which rate. */
export const optimization = {
  /** Passes over the training rows; may be fractional. Default 3. */
  numTrainEpochs: z
    .number()
    .positive()
    .default(3)
    .meta({ aka: 'epoch epochs nepochs numepochs maxepochs trainepochs' }),
  /** Updates to do, whatever `numTrainEpochs` says; -1: by epochs. Default -1. */
  maxSteps: z
    .int()
    .refine((n) => n === -1 || n > 0, 'expected -1 or a count of at least 1')
    .default(-1)
    .meta({
      aka: 'steps numsteps trainsteps trainingsteps numtrainsteps totalsteps iterations iters',
    }),
  /** Rows of a micro-batch. Default 8. */
  perDeviceTrainBatchSize: count.default(8).meta({
    aka: 'batch batchsize bs trainbatchsize microbatchsize perdevicebatchsize pergputrainbatchsize',
  }),
  /**
   * Halve perDeviceTrainBatchSize until an update of the longest rows fits into the device's memory
   * (and into maxMemory), before training begins; all else stays as it is. A run that resumes takes
   * the size of its checkpoint. Default false.
   */
  autoFindBatchSize: z.boolean().default(false),
  /** Micro-batches of one update; the same gradient as one batch of all their rows. Default 1. */
  gradientAccumulationSteps: count
    .default(1)
    .meta({ aka: 'accumulation accumulationsteps gradaccum gradaccumsteps gradientaccumulation' }),
  /**
   * Highest learning rate. Default 5e-5 (SFTTrainer: 2e-5). With LoRA usually ten times as much.
   */
  learningRate: z
    .number()
    .min(0)
    .default(5e-5)
    .meta({ aka: 'lr rate baselr maxlr peaklr learnrate' }),
  /** Decoupled weight decay of everything but biases and norms. Default 0. */
  weightDecay: z.number().min(0).default(0).meta({ aka: 'wd decay l2 regularization' }),
  /** Decay rate of AdamW's first moment. Default 0.9. */
  adamBeta1: z.number().min(0).lt(1).default(0.9).meta({ aka: 'beta1' }),
  /** Decay rate of AdamW's second moment. Default 0.999. */
  adamBeta2: z.number().min(0).lt(1).default(0.999).meta({ aka: 'beta2' }),
  /** Added to the root of AdamW's second moment. Default 1e-8. */
  adamEpsilon: z.number().min(0).default(1e-8).meta({ aka: 'eps epsilon' }),
  /**
   * The optimizer: "adamw_torch" (also "adamw", "adamw_torch_fused"), "adamw_bnb_8bit" (also
   * "adamw_8bit"), "sgd", "lion_32bit" (also "lion"), "adafactor", or one that a plugin added to
   * `Optimizers`. Default "adamw_torch".
   */
  optim: z
    .string()
    .min(1)
    .default('adamw_torch')
    .meta({ aka: 'optimizer optimizertype optimname optimizername' }),
  /**
   * Further options of the optimizer: "momentum=0.9,nesterov=true", or the same as an object.
   * Default "".
   */
  optimArgs: z
    .union([z.string(), z.record(z.string(), z.union([z.string(), z.number(), z.boolean()]))])
    .default('')
    .meta({ noneIsDefault: true }),
  /** Largest L2 norm of the gradient; 0: no clipping. Default 1. */
  maxGradNorm: z
    .number()
    .min(0)
    .default(1)
    .meta({ aka: 'clip clipnorm gradclip gradnorm gradientclipping gradientclipval clipgradnorm' }),
  /**
   * Label smoothing e: the loss is 1 - e times -log p(label) plus e times the mean of -log p over
   * the vocabulary. Also in evaluation, as in transformers. Default 0.
   */
  labelSmoothingFactor: z
    .number()
    .min(0)
    .lt(1)
    .default(0)
    .meta({ aka: 'labelsmoothing smoothing' }),
  /**
   * NEFTune: noise of this strength on the embeddings while training, 5 to 15 in the paper; null:
   * none. Default null.
   */
  neftuneNoiseAlpha: z
    .number()
    .min(0)
    .nullable()
    .default(null)
    .meta({ aka: 'neftune neftunealpha noise' }),
  /**
   * What to do about an update whose loss or gradient is not finite. The device never applies it,
   * and it is never averaged in. "skip": go on, count it in `skippedSteps`. "stop": no later update
   * changes anything; the run ends with NON_FINITE, which names the update. "rollback": go back to
   * the last checkpoint (one is written at the start) and on with the rows after the bad update, at
   * most three times from one checkpoint. Found at the next log, evaluation or checkpoint or at the
   * end: nothing waits for the device before. Default "skip".
   */
  nonFinite: z.enum(NON_FINITE).default('skip'),
  /**
   * How the rate moves over the run: "cosine", "constant_with_warmup", ..., or a schedule that a
   * plugin added to `LearningRateSchedules`. Default "linear": to zero.
   */
  lrSchedulerType: (z.string().min(1) as z.ZodType<string, string> as z.ZodType<Schedule, Schedule>)
    .default('linear')
    .meta({ aka: 'scheduler lrscheduler schedule lrschedule schedulertype decaytype' }),
  /**
   * Options of the schedule by name, e.g. `{ numDecaySteps: 100 }`; each schedule takes its own.
   * Default {}.
   */
  lrSchedulerKwargs: (
    z.record(z.string(), z.unknown()) as z.ZodType<ScheduleOptions, ScheduleOptions>
  )
    .default({})
    .meta({ noneIsDefault: true }),
  /**
   * Updates of linear warmup from 0; below 1, a share of all updates. Before `warmupRatio`. Default
   * 0.
   */
  warmupSteps: z
    .number()
    .min(0)
    .refine((n) => n < 1 || Number.isInteger(n), 'expected a whole number, or a share below 1')
    .default(0)
    .meta({ aka: 'warmup numwarmupsteps' }),
  /** Share of all updates that are warmup, rounded up. Default 0. */
  warmupRatio: z.number().min(0).max(1).default(0),
};
