import { z } from 'zod';
import type { GenerativeModel } from '../models/languageModel.js';
import { causalLmObjective } from '../objectives/causalLm.js';
import { PACKING_STRATEGIES } from '../text/pack.js';
import { preflightSetting } from '../text/preflight/preflight.js';
import {
  type TrainingArguments,
  type TrainingArgumentsInput,
  trainingArgumentsSchema,
} from '../training/arguments/trainingArguments.js';
import { AttuneError } from '../util/errors.js';
import type { FilledOptions, OptionsInput } from '../util/options.js';
import { checkTrainerOptions } from './checkInputs.js';
import { Trainer } from './trainer.js';
import { type TrainerOptions, trainerOptions } from './trainerOptions.js';

/** What SFTTrainer has beside the arguments of every trainer. */
const sftOnly = {
  /**
   * Learn completions only. null: where a row has one (prompt + completion), as in TRL. true on
   * conversations: what the assistant says. Default null.
   */
  completionOnlyLoss: z.boolean().nullable().default(null).meta({
    aka: 'completiononly trainonresponsesonly trainoncompletions trainoninputs maskprompt masking',
  }),
  /** Learn only what the assistant says in conversations, with any chat template. Default false. */
  assistantOnlyLoss: z.boolean().default(false).meta({ aka: 'assistantonly trainonassistant' }),
  /**
   * Fill rows of `maxLength` tokens with several examples each: less padding, the same loss. They
   * do not see one another, and positions start again with each. Default false.
   */
  packing: z.boolean().default(false).meta({ aka: 'pack packsequences samplepacking' }),
  /**
   * "bfd" cuts off what is longer than a row, "bfd_split" goes on in other rows, "wrapped" cuts the
   * tokens of all examples into full rows, each of which is one text for attention. Default "bfd".
   */
  packingStrategy: z.enum(PACKING_STRATEGIES).default('bfd'),
  // TRL's old name for what "nll" is.
  /**
   * What is minimised. "dft": dynamic fine-tuning (arXiv:2508.05629), each token's loss times its
   * probability: what the model finds unlikely pulls less. "chunked_nll" is "nll". Default "nll".
   */
  lossType: z
    .enum(['nll', 'dft', 'chunked_nll'])
    .transform((type) => (type === 'chunked_nll' ? 'nll' : type))
    .default('nll')
    .meta({ aka: 'loss lossfunction lossfn criterion' }),
  /** Pack the evaluation rows too; null: as `packing`. Default null. */
  evalPacking: z.boolean().nullable().default(null).meta({ aka: 'packeval' }),
  /**
   * Before the first step, show what is trained on, and refuse what cannot be meant
   * (`PREFLIGHT_CHECKS`): "on", "off", or `{ rows, allow }` with the number of rows to show and the
   * checks to say and not refuse. Default "on": three rows, all checks.
   */
  preflight: preflightSetting.default('on').meta({ aka: 'preview check checks' }),
};

const sftArguments = trainingArgumentsSchema.extend(sftOnly);

/** TrainingArguments with TRL's defaults: learningRate 2e-5, loggingSteps 10, maxLength 1024. */
export type SftArguments = TrainingArguments & FilledOptions<typeof sftOnly>;

/** The `args` of an {@link SFTTrainer}, as they are written. */
export type SftArgumentsInput = TrainingArgumentsInput & OptionsInput<typeof sftOnly>;

const { objective: _, objectiveOptions: __, ...ofEveryTrainer } = trainerOptions.shape;
const sftOptions = {
  /** Row -> text to learn, for rows of a format of your own. Default: rows of the known formats. */
  formattingFunc: z
    .custom<(row: never) => string>()
    .optional()
    .meta({ aka: 'formattingfunction formatfunc format formatter promptformatter' }),
};
const sftTrainerOptions = z.strictObject({ ...ofEveryTrainer, ...sftOptions });

/** Options of an {@link SFTTrainer}. */
export type SftTrainerOptions = Omit<
  TrainerOptions<SftArguments, SftArgumentsInput>,
  'objective' | 'objectiveOptions'
> &
  OptionsInput<typeof sftOptions>;

/**
 * Supervised fine-tuning: a Trainer that learns to predict the next token of texts, of completions
 * of prompts, or of conversations.
 *
 * @example
 * const trainer = new SFTTrainer({ model, tokenizer, trainDataset, peftConfig: { peftType: 'LORA' }, args: { outputDir: 'out' } });
 * await trainer.train();
 */
export class SFTTrainer extends Trainer<SftArguments, SftArgumentsInput> {
  /** The model as it was given, with the adapter of `peftConfig`. */
  declare readonly model: GenerativeModel;

  constructor(options: SftTrainerOptions) {
    checkTrainerOptions(new.target.name, options, sftTrainerOptions, sftArguments);
    const { formattingFunc, ...rest } = options;
    const { taskType } = options.model;
    if (taskType !== 'CAUSAL_LM')
      throw new AttuneError(
        'CAUSAL_LM_NEEDED',
        `SFTTrainer learns the next token, and the model is for the task "${taskType}".`,
        {
          remedy:
            'Load it with AutoModelForCausalLM; or train what it is for, e.g. new Trainer({ objective: (args, model) => sequenceClassificationObjective(model, args), ... }).',
        },
      );
    super(
      {
        ...rest,
        objective: (args) =>
          causalLmObjective({
            maxLength: args.maxLength!,
            completionOnlyLoss: args.completionOnlyLoss,
            assistantOnlyLoss: args.assistantOnlyLoss,
            packing: args.packing,
            packingStrategy: args.packingStrategy,
            evalPacking: args.evalPacking,
            preflight: args.preflight,
            lossType: args.lossType,
            labelSmoothing: args.labelSmoothingFactor,
            formattingFunc,
          }),
      },
      {
        schema: sftArguments,
        defaults: { learningRate: 2e-5, loggingSteps: 10, maxLength: 1024 },
      },
    );
  }
}
