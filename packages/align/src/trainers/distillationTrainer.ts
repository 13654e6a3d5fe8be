import {
  AttuneError,
  type Objective,
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
import { pick } from '../objectives/create.js';
import { distillationObjective, distillationShape } from '../objectives/distillation.js';
import type { TeacherChoice } from '../reference/teacher.js';
import type { RolloutFunction } from '../rollout/rollout.js';

const distillationArguments = trainingArgumentsSchema.extend(distillationShape);

/** Arguments of a {@link DistillationTrainer}, filled in. */
export type DistillationArguments = TrainingArguments & FilledOptions<typeof distillationShape>;

/** Arguments of a {@link DistillationTrainer}, as they are written. */
export type DistillationArgumentsInput = TrainingArgumentsInput &
  OptionsInput<typeof distillationShape>;

const { objective: _, objectiveOptions: __, ...ofEveryTrainer } = trainerOptions.shape;
const ownShape = {
  /**
   * Whom the model learns from: another model of the same vocabulary on the same Attune, or
   * "base", the model with its adapters off. Needed, here or as `teacherModel`.
   */
  teacher: z.custom<TeacherChoice>().optional(),
  /** TRL's name of `teacher`. */
  teacherModel: z.custom<TeacherChoice>().optional(),
  /**
   * Writes the student's completions in the place of its own generator: `async ({ prompts,
   * promptIds, seed, signal }) => ({ completionIds })`. Default: the generator.
   */
  rollout: z.custom<RolloutFunction>().optional().meta({ aka: 'rolloutfunc rolloutfunction' }),
};
const options = z.strictObject({ ...ofEveryTrainer, ...ownShape });

/** Options of a {@link DistillationTrainer}. */
export type DistillationTrainerOptions = Omit<
  TrainerOptions<DistillationArguments, DistillationArgumentsInput>,
  'objective' | 'objectiveOptions'
> &
  OptionsInput<typeof ownShape>;

/**
 * Trains a model to give the distributions of its teacher: {@link distillationObjective}. By
 * default the student writes the completions of rows of `{ prompt }` itself, as in TRL's
 * DistillationTrainer; with `lmbda` below 1 groups take those of rows of `{ prompt, completion }`
 * or `{ messages }`, as in TRL's GKDTrainer. Defaults are those of TRL's DistillationConfig:
 * learningRate 1e-6, loggingSteps 10, beta 1; and maxLength 1024.
 *
 * @example
 * const teacher = await AutoModelForCausalLM.fromPretrained(large, { attune });
 * const trainer = new DistillationTrainer({ model, teacher, tokenizer, trainDataset,
 *   peftConfig: { peftType: 'LORA' }, args: { outputDir: 'out', lmbda: 0, beta: 0.5 } });
 * await trainer.train();
 */
export class DistillationTrainer extends Trainer<
  DistillationArguments,
  DistillationArgumentsInput
> {
  /**
   * @throws UNKNOWN_OPTION, TRAINER_OPTION, ARGUMENTS_INVALID, CAUSAL_LM_NEEDED, and TEACHER for a
   *   teacher that the model cannot have
   */
  constructor(given: DistillationTrainerOptions) {
    checkTrainerOptions(new.target.name, given, options, distillationArguments);
    const { teacher, teacherModel, rollout, ...rest } = given;
    const chosen = teacher ?? teacherModel;
    if (chosen === undefined || (teacher !== undefined && teacherModel !== undefined))
      throw new AttuneError(
        'TRAINER_OPTION',
        `${new.target.name}: teacher ${chosen === undefined ? 'is missing' : 'and teacherModel are both given'}.`,
        { remedy: "Pass teacher: a model loaded with the same `attune`, or 'base'." },
      );
    super(
      {
        ...rest,
        objective: (args, model) =>
          distillationObjective(model, {
            ...(pick(args, z.strictObject(distillationShape)) as OptionsInput<
              typeof distillationShape
            >),
            teacher: chosen,
            maxLength: args.maxLength!,
            tokenizer: rest.tokenizer ?? null,
            rollout: rollout ?? null,
          }) as Objective<never> as never,
      },
      {
        schema: distillationArguments,
        defaults: { learningRate: 1e-6, loggingSteps: 10, maxLength: 1024 },
      },
    );
  }
}
