import {
  Trainer,
  type TrainerOptions,
  type TrainingArguments,
  type TrainingArgumentsInput,
} from '@attune/core';
import {
  checkTrainerOptions,
  trainerOptions,
  trainingArgumentsSchema,
} from '@attune/core/training';
import type { FilledOptions, OptionsInput } from '@attune/core/util';
import { z } from 'zod';
import { rewardObjective, rewardShape } from '../objectives/reward.js';

const rewardArguments = trainingArgumentsSchema.extend(rewardShape);

/** Arguments of a {@link RewardTrainer}, filled in. */
export type RewardArguments = TrainingArguments & FilledOptions<typeof rewardShape>;

/** Arguments of a {@link RewardTrainer}, as they are written. */
export type RewardArgumentsInput = TrainingArgumentsInput & OptionsInput<typeof rewardShape>;

const { objective: _, objectiveOptions: __, ...ofEveryTrainer } = trainerOptions.shape;
const options = z.strictObject(ofEveryTrainer);

/** Options of a {@link RewardTrainer}. */
export type RewardTrainerOptions = Omit<
  TrainerOptions<RewardArguments, RewardArgumentsInput>,
  'objective' | 'objectiveOptions'
>;

/**
 * Trains a reward model on preference pairs: {@link rewardObjective}. An adapter of `peftConfig`
 * trains and saves the score layer whole. Defaults are TRL's: learningRate 1e-4, loggingSteps 10,
 * maxLength 1024.
 *
 * @example
 * const model = await AutoModelForSequenceClassification.fromPretrained(path, { attune, numLabels: 1 });
 * await new RewardTrainer({ model, tokenizer, trainDataset, args: { outputDir: 'out/rm' } }).train();
 */
export class RewardTrainer extends Trainer<RewardArguments, RewardArgumentsInput> {
  /** @throws as `Trainer`, and REWARD_MODEL, PADDING_UNKNOWN */
  constructor(given: RewardTrainerOptions) {
    checkTrainerOptions(new.target.name, given, options, rewardArguments);
    super(
      {
        ...given,
        objective: (args, model) =>
          rewardObjective(model, {
            maxLength: args.maxLength!,
            pooling: args.pooling,
            centerRewardsCoefficient: args.centerRewardsCoefficient,
            disableDropout: args.disableDropout,
            preflight: args.preflight,
          }) as never,
      },
      {
        schema: rewardArguments,
        defaults: { learningRate: 1e-4, loggingSteps: 10, maxLength: 1024 },
      },
    );
  }
}
