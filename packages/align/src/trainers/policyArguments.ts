import { AttuneError, type TrainingArguments } from '@attune/core';
import { type FilledOptions, z } from '@attune/core/util';
import type { PolicySchedule } from '../objectives/policyObjective.js';
import type { SamplingOptions } from '../rollout/rollout.js';

const count = z.int().min(1);
const finite = z.number();

/** What GRPO and RLOO have beside the arguments of every trainer, as in TRL. */
export const policyShape = {
  /**
   * Completions that are drawn at once for learning; null: `perDeviceTrainBatchSize` times
   * `stepsPerGeneration`. Not beside `stepsPerGeneration`. Default null.
   */
  generationBatchSize: count.nullable().default(null),
  /**
   * Micro-batches that a rollout gives; null: `gradientAccumulationSteps`. It must be a multiple of
   * those: an update is made of one rollout. Default null.
   */
  stepsPerGeneration: count.nullable().default(null),
  /** Completions of a prompt in an evaluation; null: `numGenerations`. Default null. */
  numGenerationsEval: count.nullable().default(null),
  /** Tokens of a completion at most. Default 512, as in TRL (256 in papers). */
  maxCompletionLength: count.default(512).meta({ aka: 'maxnewtokens maxtokens responselength' }),
  /** Divides the logits where completions are drawn and in every log-probability. Default 1. */
  temperature: z.number().positive().default(1).meta({ aka: 'temp' }),
  /** Draw from the fewest tokens whose probabilities reach this; above 0 to 1. Default 1: all. */
  topP: z.number().positive().max(1).default(1),
  /** Draw from the k likeliest tokens; 0: from all. Default 0. */
  topK: z.int().min(0).default(0),
  /** Leave out tokens less likely than this times the likeliest; null: none. Default null. */
  minP: z.number().min(0).max(1).nullable().default(null),
  /** Above 1 makes tokens that were there less likely. Default 1. */
  repetitionPenalty: z.number().positive().default(1),
  /** Further options of `model.generate`, which come before those above. Default {}. */
  generationKwargs: z.custom<Readonly<Record<string, unknown>>>().default({}),
  /** Completions that are drawn side by side; the others wait. null: all. Default null. */
  generationMicroBatch: count.nullable().default(null),
  /** What the chat template is given beside the messages. Default {}. */
  chatTemplateKwargs: z.custom<Readonly<Record<string, unknown>>>().default({}),
  /**
   * How often each rollout is learned from (mu in the paper). From the second time on, and with
   * several updates a rollout, ratios to the policy that drew it are clipped. Default 1.
   */
  numIterations: count.default(1),
  /** Ratios below 1 - epsilon are clipped, and above 1 + epsilon. Default 0.2. */
  epsilon: z.number().min(0).default(0.2),
  /** The upper bound by itself; null: `epsilon`. Default null; DAPO has 0.28. */
  epsilonHigh: z.number().min(0).nullable().default(null),
  /** A factor on the rewards of each reward function; null: 1. Default null. */
  rewardWeights: z.array(finite).readonly().nullable().default(null),
  /** Seconds that a reward function may take; null: any. Default 600; TRL has no limit. */
  rewardTimeout: z.number().positive().nullable().default(600),
  /**
   * Leave completions without an end out of the loss: what was cut off says little of the reward.
   * Default false.
   */
  maskTruncatedCompletions: z.boolean().default(false),
  /** Train without dropout, the model's own and that of its adapters. Default false. */
  disableDropout: z.boolean().default(false),
  /** Show completions with their rewards and advantages at each log. Default false. */
  logCompletions: z.boolean().default(false),
  /** Completions to show; null: all of the rollout. Default null. */
  numCompletionsToPrint: count.nullable().default(null),
};

/** Arguments that GRPO and RLOO share, every one filled in. */
export type PolicyArguments = TrainingArguments &
  FilledOptions<typeof policyShape> & {
    readonly numGenerations: number;
    readonly beta: number;
  };

/** Defaults of TRL's GRPOConfig and RLOOConfig that are not those of every trainer. */
export const policyDefaults = {
  learningRate: 1e-6,
  loggingSteps: 10,
  // A last group of fewer prompts would make fewer updates.
  dataloaderDropLast: true,
};

/**
 * How many completions are drawn, and how they become updates.
 *
 * @throws ARGUMENTS_INVALID for sizes that do not divide each other
 */
export function scheduleOf(args: PolicyArguments): PolicySchedule {
  const { perDeviceTrainBatchSize: microBatch, gradientAccumulationSteps: microBatches } = args;
  const { numGenerations, generationBatchSize, numIterations } = args;
  if (args.autoFindBatchSize)
    throw invalid(
      'autoFindBatchSize is on, and a rollout needs whole groups of completions.',
      'Leave it out, and lower perDeviceTrainBatchSize by hand.',
    );
  if (generationBatchSize !== null && args.stepsPerGeneration !== null)
    throw invalid(
      'generationBatchSize and stepsPerGeneration are both given.',
      'Give one of them: generationBatchSize = perDeviceTrainBatchSize * stepsPerGeneration.',
    );
  const stepsPerGeneration =
    generationBatchSize === null
      ? (args.stepsPerGeneration ?? microBatches)
      : generationBatchSize / microBatch;
  if (!Number.isInteger(stepsPerGeneration))
    throw invalid(
      `generationBatchSize is ${generationBatchSize}, no multiple of perDeviceTrainBatchSize, which is ${microBatch}.`,
      'Both count completions: make one a multiple of the other.',
    );
  if (stepsPerGeneration % microBatches !== 0)
    throw invalid(
      `a rollout gives ${stepsPerGeneration} micro-batches, and an update takes ${microBatches}.`,
      'Make stepsPerGeneration a multiple of gradientAccumulationSteps.',
    );
  const completions = microBatch * stepsPerGeneration;
  if (completions % numGenerations !== 0)
    throw invalid(
      `a rollout is of ${completions} completions (perDeviceTrainBatchSize ${microBatch} times ${stepsPerGeneration}), and numGenerations is ${numGenerations}.`,
      'perDeviceTrainBatchSize counts completions: make the product a multiple of numGenerations.',
    );
  return {
    numGenerations,
    numGenerationsEval: args.numGenerationsEval ?? numGenerations,
    microBatch,
    evalBatch: args.perDeviceEvalBatchSize,
    microBatches,
    stepsPerGeneration,
    numIterations,
  };
}

/** @throws ARGUMENTS_INVALID where evaluations could not draw whole groups */
export function checkEvaluation({ evalBatch, numGenerationsEval }: PolicySchedule): void {
  if (evalBatch % numGenerationsEval === 0) return;
  throw invalid(
    `perDeviceEvalBatchSize is ${evalBatch}, and an evaluation draws ${numGenerationsEval} completions of a prompt.`,
    'perDeviceEvalBatchSize counts completions: make it a multiple of numGenerationsEval.',
  );
}

export const samplingOf = (args: PolicyArguments): SamplingOptions => ({
  maxCompletionLength: args.maxCompletionLength,
  temperature: args.temperature,
  topP: args.topP,
  topK: args.topK,
  minP: args.minP,
  repetitionPenalty: args.repetitionPenalty,
  generationKwargs: args.generationKwargs,
  generationMicroBatch: args.generationMicroBatch,
});

const invalid = (found: string, remedy: string): AttuneError =>
  new AttuneError('ARGUMENTS_INVALID', found, { remedy });
