import type { TrainingArgumentsInput } from '@attune/core';
import { type TrainingArguments, trainingArgumentsSchema } from '@attune/core/training';
import { type FilledOptions, type OptionsInput, z } from '@attune/core/util';
import { rlooObjective } from '../objectives/rloo.js';
import { policyDefaults, policyShape } from './policyArguments.js';
import { PolicyTrainer, type PolicyTrainerOptions } from './policyTrainer.js';

/** What RLOO has beside what it shares with GRPO, as in TRL's RLOOConfig. */
const rlooShape = {
  ...policyShape,
  /** Completions of a prompt, at least 2. Default 2. */
  numGenerations: z.int().min(2).default(2).meta({ aka: 'rlook n groupsize numsamples' }),
  /** Weight of the KL (k1) to the reference in the reward; 0: no reference. Default 0.05. */
  beta: z.number().min(0).default(0.05).meta({ aka: 'klcoef klcoefficient klpenalty' }),
  /** Make mean 0 and deviation 1 of the advantages of a rollout. Default false. */
  normalizeAdvantages: z.boolean().default(false).meta({ aka: 'whitenadvantages' }),
  /** Bounds of a reward, before the KL is taken from it; null: none. Default null. */
  rewardClipRange: z
    .tuple([z.number(), z.number()])
    .refine(([low, high]) => low < high, 'expected the lower bound first')
    .nullable()
    .default(null),
};

const rlooArguments = trainingArgumentsSchema.extend(rlooShape);

/** TrainingArguments with TRL's defaults: learningRate 1e-6, loggingSteps 10. */
export type RlooArguments = TrainingArguments & FilledOptions<typeof rlooShape>;

/** The `args` of an {@link RLOOTrainer}, as they are written. */
export type RlooArgumentsInput = TrainingArgumentsInput & OptionsInput<typeof rlooShape>;

/** Options of an {@link RLOOTrainer}. */
export type RlooTrainerOptions = PolicyTrainerOptions<RlooArguments, RlooArgumentsInput>;

/**
 * REINFORCE with a leave-one-out baseline on rows of `{ prompt }`, with rewards by functions and
 * models. `perDeviceTrainBatchSize` counts completions, as in TRL.
 */
export class RLOOTrainer extends PolicyTrainer<RlooArguments, RlooArgumentsInput> {
  constructor(options: RlooTrainerOptions) {
    super(options, {
      schema: rlooArguments,
      defaults: policyDefaults,
      objective: (parts, args) =>
        rlooObjective({
          ...parts,
          beta: args.beta,
          clip: { epsilonLow: args.epsilon, epsilonHigh: args.epsilonHigh ?? args.epsilon },
          rewardClipRange: args.rewardClipRange,
          normalizeAdvantages: args.normalizeAdvantages,
        }),
    });
  }
}
