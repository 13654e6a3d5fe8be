import { AttuneError, type TrainingArgumentsInput } from '@attune/core';
import { type TrainingArguments, trainingArgumentsSchema } from '@attune/core/training';
import { type FilledOptions, keysToCamel, type OptionsInput, z } from '@attune/core/util';
import type { PpoSchedule } from '../objectives/ppo.js';
import { type KlController, klController } from '../rollout/klController.js';
import { KL_ESTIMATORS } from '../rollout/ppoRewards.js';
import type { SamplingOptions } from '../rollout/rollout.js';

const count = z.int().min(1);

/** What PPO has beside the arguments of every trainer: names of TRL 1.12, and those of 0.11. */
export const ppoShape = {
  /**
   * Answers of a group: so many are drawn, and then learned from. A last group of fewer prompts
   * answers them again until it has as many. null: `perDeviceTrainBatchSize` times
   * `gradientAccumulationSteps`, as in TRL 1.12. Default null.
   */
  batchSize: count.nullable().default(null).meta({ aka: 'rolloutbatchsize rollouts' }),
  /**
   * Answers of an update; it divides `batchSize`. null: `batchSize` / `numMiniBatches`. Default
   * null.
   */
  miniBatchSize: count.nullable().default(null),
  /** Updates that an epoch of a group is cut into, where `miniBatchSize` is null. Default 1. */
  numMiniBatches: count.default(1),
  /** How often each group is learned from. Default 4. */
  ppoEpochs: count.default(4).meta({ aka: 'numppoepochs numiterations' }),
  /** Answers to draw in the whole run, in the place of `maxSteps`; null: epochs. Default null. */
  totalEpisodes: count.nullable().default(null),
  /** Tokens of an answer at most. Default 53, as `response_length` in TRL. */
  maxNewTokens: count.default(53).meta({ aka: 'responselength maxcompletionlength maxtokens' }),
  /** Divides the logits where answers are drawn and in every log-probability. Default 0.7. */
  temperature: z.number().positive().default(0.7).meta({ aka: 'temp' }),
  /** Draw from the k likeliest tokens; 0: from all. Default 0. */
  topK: z.int().min(0).default(0),
  /** Draw from the fewest tokens whose probabilities reach this. Default 1: from all. */
  topP: z.number().positive().max(1).default(1),
  /**
   * "eos": an answer ends at the end tokens of model and tokenizer. null: nothing ends it, and all
   * have `maxNewTokens` tokens. Default "eos"; TRL's null teaches what stands behind an end, too.
   */
  stopToken: z.enum(['eos']).nullable().default('eos'),
  /** The token, or tokens, that end an answer in the place of `stopToken`. Default null. */
  stopTokenId: z
    .union([z.int().min(0), z.array(z.int().min(0)).min(1)])
    .nullable()
    .default(null),
  /** Taken off the score of an answer without an end; null: nothing is. Default null. */
  missingEosPenalty: z.number().positive().nullable().default(null),
  /** Answers that are drawn side by side; the others wait. null: all. Default null. */
  generationMicroBatch: count.nullable().default(null).meta({
    aka: 'localrolloutforwardbatchsize',
  }),
  /** Weight b of the KL to the reference in the reward of each token. Default 0.05. */
  klCoef: z.number().min(0).default(0.05).meta({ aka: 'beta klpenalty klcoefficient' }),
  /** "k1": log p - log p_ref; "k3": exp(-d) - 1 + d of that d, never negative. Default "k1". */
  klEstimator: z.enum(KL_ESTIMATORS).default('k1'),
  /**
   * The weight of the KL at the start, by its name in TRL 0.11; null: `klCoef`, or 0.2 where it
   * adapts. Default null.
   */
  initKlCoef: z.number().positive().nullable().default(null),
  /**
   * Let the weight follow `targetKl`: b <- b (1 + clip(KL / target - 1, -0.2, 0.2) n / horizon)
   * after each group of n answers (arXiv:1909.08593). Default false, as in TRL 1.12; 0.11 had true.
   */
  adapKlCtrl: z.boolean().default(false).meta({ aka: 'adaptivekl adaptiveklctrl adaptkl' }),
  /** KL of an answer that is aimed at, nats: the sum over its tokens. Default 6. */
  targetKl: z.number().positive().default(6).meta({ aka: 'target kltarget' }),
  /** Answers over which the weight of the KL may change by a fifth. Default 10000. */
  horizon: z.number().positive().default(10_000).meta({ aka: 'klhorizon' }),
  /** Ratios are clipped to 1 - cliprange and 1 + cliprange. Default 0.2. */
  cliprange: z.number().positive().default(0.2).meta({ aka: 'clip cliprangeratio epsilon' }),
  /** How far values may move from what they were before they are clipped. Default 0.2. */
  cliprangeValue: z.number().positive().default(0.2),
  /** Weight of the value loss. Default 0.1. */
  vfCoef: z.number().min(0).default(0.1).meta({ aka: 'valuecoef vfweight' }),
  /** Discount of what comes one token later. Default 1. */
  gamma: z.number().min(0).max(1).default(1).meta({ aka: 'discount' }),
  /** l of generalised advantage estimation. Default 0.95. */
  lam: z.number().min(0).max(1).default(0.95).meta({ aka: 'lambda gaelambda' }),
  /** Divide rewards by their deviation over the tokens of a group. Default false. */
  whitenRewards: z.boolean().default(false).meta({ aka: 'normalizerewards' }),
  /**
   * A micro-batch whose mean ratio is above it teaches nothing, as in TRL 0.11, which had 10; null:
   * all do, as in 1.12. Default null.
   */
  ratioThreshold: z.number().positive().nullable().default(null),
  /** A factor on the rewards of each reward function; null: 1. Default null. */
  rewardWeights: z.array(z.number()).readonly().nullable().default(null),
  /** Seconds that a reward function may take; null: any. Default 600. */
  rewardTimeout: z.number().positive().nullable().default(600),
};

/** What the arguments are checked by. */
export const ppoArguments: z.ZodObject = trainingArgumentsSchema.extend(ppoShape);

/** TrainingArguments with TRL's defaults: learningRate 3e-6; a row of the log for each group. */
export type PpoArguments = TrainingArguments & FilledOptions<typeof ppoShape>;

/** The `args` of a PPOTrainer, as they are written. */
export type PpoArgumentsInput = TrainingArgumentsInput & OptionsInput<typeof ppoShape>;

/** TRL's default of both. */
const MICRO_BATCH = 8;

/** Arguments whose default follows from others: sizes, and how often a row is logged. */
export function ppoDefaults(given: object | undefined): Readonly<Record<string, unknown>> {
  const written = keysToCamel((given ?? {}) as Readonly<Record<string, unknown>>);
  const number = (name: string, fallback: number) => {
    const value = written[name];
    return Number.isInteger(value) && (value as number) > 0 ? (value as number) : fallback;
  };
  const micro = number('perDeviceTrainBatchSize', MICRO_BATCH);
  const batch = number('batchSize', micro * number('gradientAccumulationSteps', 1));
  const mini = number('miniBatchSize', batch / number('numMiniBatches', 1));
  const updates = number('ppoEpochs', 4) * Math.max(1, Math.round(batch / mini));
  const episodes = number('totalEpisodes', 0);
  return {
    learningRate: 3e-6,
    loggingSteps: updates,
    // Sizes that do not divide each other are refused by their own names.
    perDeviceTrainBatchSize: Number.isInteger(mini) ? largestDivisor(mini, MICRO_BATCH) : 1,
    ...(episodes > 0 && { maxSteps: Math.ceil(episodes / batch) * updates }),
  };
}

const largestDivisor = (n: number, limit: number): number => {
  for (let size = Math.min(limit, n); size > 1; size--) if (n % size === 0) return size;
  return 1;
};

/**
 * How many answers are drawn, and how they become updates.
 *
 * @param written names that the user gave
 * @throws ARGUMENTS_INVALID for sizes that do not divide each other
 */
export function ppoSchedule(args: PpoArguments, written: ReadonlySet<string>): PpoSchedule {
  const { perDeviceTrainBatchSize: microBatch, gradientAccumulationSteps } = args;
  const product = microBatch * gradientAccumulationSteps;
  const batchSize = args.batchSize ?? product;
  if (args.autoFindBatchSize)
    throw invalid(
      'autoFindBatchSize is on, and the sizes of PPO divide each other.',
      'Leave it out, and lower perDeviceTrainBatchSize by hand.',
    );
  if (written.has('gradientAccumulationSteps') && batchSize !== product)
    throw invalid(
      `batchSize is ${batchSize}, and perDeviceTrainBatchSize times gradientAccumulationSteps is ${product}.`,
      'Leave gradientAccumulationSteps out: miniBatchSize says what an update is made of.',
    );
  if (args.miniBatchSize !== null && written.has('numMiniBatches'))
    throw invalid(
      'miniBatchSize and numMiniBatches are both given.',
      'Give one of them: miniBatchSize = batchSize / numMiniBatches.',
    );
  const miniBatchSize = args.miniBatchSize ?? batchSize / args.numMiniBatches;
  const numMiniBatches = batchSize / miniBatchSize;
  if (!Number.isInteger(miniBatchSize) || !Number.isInteger(numMiniBatches))
    throw invalid(
      args.miniBatchSize === null
        ? `numMiniBatches is ${args.numMiniBatches}, and batchSize ${batchSize} is no multiple of it.`
        : `miniBatchSize is ${miniBatchSize}, and batchSize ${batchSize} is no multiple of it.`,
      'An epoch uses each answer of a group once: let one divide the other.',
    );
  if (miniBatchSize % microBatch !== 0)
    throw invalid(
      `perDeviceTrainBatchSize is ${microBatch}, and the mini-batches of an update have ${miniBatchSize} answers.`,
      'It says how many go through the model at once: let it divide miniBatchSize, or leave it out.',
    );
  if (args.totalEpisodes !== null && written.has('maxSteps'))
    throw invalid('totalEpisodes and maxSteps are both given.', 'Give one of them.');
  return {
    batchSize,
    numMiniBatches,
    microBatch,
    ppoEpochs: args.ppoEpochs,
    evalBatch: args.perDeviceEvalBatchSize,
    shuffle: args.shuffle,
  };
}

/**
 * The weight of the KL: fixed, or following its target.
 *
 * @throws ARGUMENTS_INVALID for two weights at the start
 */
export function ppoController(args: PpoArguments, written: ReadonlySet<string>): KlController {
  const { klCoef, initKlCoef, adapKlCtrl, targetKl, horizon } = args;
  const isGiven = written.has('klCoef');
  if (isGiven && initKlCoef !== null && initKlCoef !== klCoef)
    throw invalid(
      `klCoef is ${klCoef}, and initKlCoef is ${initKlCoef}.`,
      'They are one weight by its two names: give one of them.',
    );
  const initial = initKlCoef ?? (adapKlCtrl && !isGiven ? 0.2 : klCoef);
  if (adapKlCtrl && initial === 0)
    throw invalid(
      'klCoef is 0 and adapKlCtrl is on: a weight of 0 stays 0.',
      'Start from a weight above 0, e.g. initKlCoef: 0.2, or leave adapKlCtrl out.',
    );
  return klController(initial, adapKlCtrl ? { targetKl, horizon } : null);
}

/** How answers are drawn. */
export const ppoSampling = (args: PpoArguments, stopIds: ReadonlySet<number>): SamplingOptions => ({
  maxCompletionLength: args.maxNewTokens,
  temperature: args.temperature,
  topP: args.topP,
  topK: args.topK,
  minP: null,
  repetitionPenalty: 1,
  generationKwargs: { eosTokenId: stopIds.size > 0 ? [...stopIds] : null },
  generationMicroBatch: args.generationMicroBatch,
});

const invalid = (found: string, remedy: string): AttuneError =>
  new AttuneError('ARGUMENTS_INVALID', found, { remedy });
