import type { TrainingArgumentsInput } from '@attune/core';
import { type TrainingArguments, trainingArgumentsSchema } from '@attune/core/training';
import { type FilledOptions, type OptionsInput, z } from '@attune/core/util';
import { type PolicyLossType, policyLosses } from '../losses/policyGradient.js';
import { grpoObjective } from '../objectives/grpo.js';
import { policyDefaults, policyShape } from './policyArguments.js';
import { PolicyTrainer, type PolicyTrainerOptions } from './policyTrainer.js';

const lossTypes = Object.keys(policyLosses) as [PolicyLossType, ...PolicyLossType[]];

/** What GRPO has beside what it shares with RLOO, as in TRL's GRPOConfig. */
const grpoShape = {
  ...policyShape,
  /** Completions of a prompt, at least 2. Default 8. */
  numGenerations: z.int().min(2).default(8).meta({ aka: 'n groupsize numsamples' }),
  /** Weight of the KL to the reference, k3. 0: there is no reference. Default 0. */
  beta: z.number().min(0).default(0).meta({ aka: 'klcoef klcoefficient klpenalty' }),
  /**
   * Upper bound of ratios for bad completions (two-sided clipping); above 1 + epsilon. null: none.
   * Default null.
   */
  delta: z.number().positive().nullable().default(null),
  /**
   * How the losses of tokens are averaged, and what they are: "grpo" (over each completion), "bnpo"
   * (over the tokens of a micro-batch), "dr_grpo" (divided by maxCompletionLength), "dapo" (over
   * the tokens of the rollout), "cispo", "sapo", "luspo", "vespo". Default "dapo".
   */
  lossType: z.enum(lossTypes).default('dapo').meta({ aka: 'loss lossfunction' }),
  /**
   * Whether ratios are of tokens, or of whole sequences: exp of the mean log-ratio (GSPO). "luspo"
   * is meant for "sequence". Default "token".
   */
  importanceSamplingLevel: z.enum(['token', 'sequence']).default('token'),
  /**
   * What rewards less their group's mean are divided by: the deviation of the "group", of the
   * "batch", or nothing ("none"). true is "group", false is "none". Default "group".
   */
  scaleRewards: z
    .union([z.enum(['group', 'batch', 'none']), z.boolean()])
    .transform((given) => (given === true ? 'group' : given === false ? 'none' : given))
    .default('group'),
  /**
   * "sum_then_normalize" weighs and adds the rewards of several functions and compares the sums;
   * "normalize_then_sum" compares those of each function by themselves (GDPO). Default
   * "sum_then_normalize".
   */
  multiObjectiveAggregation: z
    .enum(['sum_then_normalize', 'normalize_then_sum'])
    .default('sum_then_normalize'),
  /** Multiply the KL with the ratio, which makes its gradient unbiased. Default true. */
  useBiasCorrectionKl: z.boolean().default(true),
  /**
   * Learn from the tokens alone whose entropy is in this upper share; above 0 to 1. It costs a
   * forward pass for each update. Default 1: from all; the paper has 0.2.
   */
  topEntropyQuantile: z.number().min(0).max(1).default(1),
  /**
   * Leave bad completions out from which the policy has drifted by more than this, nats per token;
   * null: none. Default null.
   */
  offPolicyMaskThreshold: z.number().positive().nullable().default(null),
  /** SAPO's temperature for good completions. Default 1. */
  sapoTemperaturePos: z.number().positive().default(1),
  /** SAPO's temperature for the others. Default 1.05. */
  sapoTemperatureNeg: z.number().positive().default(1.05),
  /** VESPO's exponent k for good completions. Default 2. */
  vespoKPos: z.number().default(2),
  /** VESPO's decay lambda for good completions. Default 3. */
  vespoLambdaPos: z.number().default(3),
  /** VESPO's exponent k for bad completions. Default 3. */
  vespoKNeg: z.number().default(3),
  /** VESPO's decay lambda for bad completions. Default 2. */
  vespoLambdaNeg: z.number().default(2),
};

const grpoArguments = trainingArgumentsSchema.extend(grpoShape);

/** TrainingArguments with TRL's defaults: learningRate 1e-6, loggingSteps 10. */
export type GrpoArguments = TrainingArguments & FilledOptions<typeof grpoShape>;

/** The `args` of a {@link GRPOTrainer}, as they are written. */
export type GrpoArgumentsInput = TrainingArgumentsInput & OptionsInput<typeof grpoShape>;

/** Options of a {@link GRPOTrainer}. */
export type GrpoTrainerOptions = PolicyTrainerOptions<GrpoArguments, GrpoArgumentsInput>;

/**
 * Group-relative policy optimisation on rows of `{ prompt }`, with rewards by functions and models.
 * `perDeviceTrainBatchSize` counts completions, as in TRL.
 *
 * @example
 * const trainer = new GRPOTrainer({ model, tokenizer, trainDataset, peftConfig: { peftType: 'LORA' },
 *   rewardFuncs: ({ completions }) => completions.map((text) => Number(text.includes('happy'))),
 *   args: { outputDir: 'out', numGenerations: 8, maxCompletionLength: 64 } });
 * await trainer.train();
 */
export class GRPOTrainer extends PolicyTrainer<GrpoArguments, GrpoArgumentsInput> {
  constructor(options: GrpoTrainerOptions) {
    super(options, {
      schema: grpoArguments,
      defaults: policyDefaults,
      objective: (parts, args) =>
        grpoObjective({
          ...parts,
          scaleRewards: args.scaleRewards,
          multiObjectiveAggregation: args.multiObjectiveAggregation,
          topEntropyQuantile: args.topEntropyQuantile,
          loss: {
            lossType: args.lossType,
            importanceSamplingLevel: args.importanceSamplingLevel,
            beta: args.beta,
            epsilonLow: args.epsilon,
            epsilonHigh: args.epsilonHigh ?? args.epsilon,
            delta: args.delta,
            useBiasCorrectionKl: args.useBiasCorrectionKl,
            offPolicyMaskThreshold: args.offPolicyMaskThreshold,
            sapoTemperaturePos: args.sapoTemperaturePos,
            sapoTemperatureNeg: args.sapoTemperatureNeg,
            vespoKPos: args.vespoKPos,
            vespoLambdaPos: args.vespoLambdaPos,
            vespoKNeg: args.vespoKNeg,
            vespoLambdaNeg: args.vespoLambdaNeg,
          },
        }),
    });
  }
}
