import { z } from 'zod';
import { causalLmObjective } from '../objectives/causalLm.js';
import { PACKING_STRATEGIES, type PackingStrategy } from '../text/pack.js';
import {
  PREFLIGHT_CHECKS,
  PREFLIGHT_MAX_ROWS,
  type PreflightSetting,
} from '../text/preflight/preflight.js';
import {
  type Optional,
  type TrainingArguments,
  type TrainingArgumentsInput,
  trainingArgumentsSchema,
} from '../training/arguments/trainingArguments.js';
import { checkTrainerOptions } from './checkInputs.js';
import { Trainer } from './trainer.js';
import { type TrainerOptions, trainerOptionNames } from './trainerOptions.js';

interface SftOnly {
  /**
   * Learn completions only. null: where a row has one (prompt + completion), as in TRL. true on
   * conversations: what the assistant says. Default null.
   */
  readonly completionOnlyLoss: boolean | null;
  /** Of conversations, learn only what the assistant says, with any chat template. Default false. */
  readonly assistantOnlyLoss: boolean;
  /**
   * Fill rows of `maxLength` tokens with several examples each: less padding, the same loss. They do
   * not see one another, and positions start again with each. Default false.
   */
  readonly packing: boolean;
  /**
   * "bfd" cuts off what is longer than a row, "bfd_split" goes on in other rows, "wrapped" cuts the
   * tokens of all examples into full rows, each of which is one text for attention. Default "bfd".
   */
  readonly packingStrategy: PackingStrategy;
  /**
   * What is minimised. "dft": dynamic fine-tuning (arXiv:2508.05629), each token's loss times its probability: what the model finds
   * unlikely pulls less. "chunked_nll" is "nll". Default "nll".
   */
  readonly lossType: 'nll' | 'dft';
  /** Pack the evaluation rows too; null: as `packing`. Default null. */
  readonly evalPacking: boolean | null;
  /**
   * Before the first step, show what is trained on, and refuse what cannot be meant (`PREFLIGHT_CHECKS`):
   * "on", "off", or `{ rows, allow }` with the number of rows to show and the checks to say and not
   * refuse. Default "on": three rows, all checks.
   */
  readonly preflight: PreflightSetting;
}

/** TrainingArguments with TRL's defaults: learningRate 2e-5, loggingSteps 10, maxLength 1024. */
export type SftArguments = TrainingArguments & SftOnly;

export type SftArgumentsInput = TrainingArgumentsInput & Optional<SftOnly>;

const sftArgumentsSchema = trainingArgumentsSchema.extend({
  completionOnlyLoss: z.boolean().nullable().default(null),
  assistantOnlyLoss: z.boolean().default(false),
  packing: z.boolean().default(false),
  packingStrategy: z.enum(PACKING_STRATEGIES).default('bfd'),
  // TRL's old name for what "nll" is.
  lossType: z
    .enum(['nll', 'dft', 'chunked_nll'])
    .transform((type) => (type === 'chunked_nll' ? 'nll' : type))
    .default('nll'),
  evalPacking: z.boolean().nullable().default(null),
  preflight: z
    .union(
      [
        z.enum(['on', 'off']),
        z.strictObject({
          rows: z.int().min(0).max(PREFLIGHT_MAX_ROWS).optional(),
          allow: z.array(z.enum(PREFLIGHT_CHECKS)).optional(),
        }),
      ],
      {
        error: `expected "on", "off", or { rows: 0 to ${PREFLIGHT_MAX_ROWS}, allow: a list of ${PREFLIGHT_CHECKS.map((c) => `"${c}"`).join(', ')} }`,
      },
    )
    .default('on'),
});

export interface SftTrainerOptions
  extends Omit<TrainerOptions<SftArguments, SftArgumentsInput>, 'objective'> {
  /** Row -> text to learn, for rows of a format of your own. Default: rows of the known formats. */
  readonly formattingFunc?: ((row: never) => string) | undefined;
}

const { objective: _, ...ofTrainer } = trainerOptionNames;
const optionNames: Record<keyof SftTrainerOptions, true> = { ...ofTrainer, formattingFunc: true };

/**
 * Supervised fine-tuning: next-token prediction on rows of text, prompt + completion or conversations.
 *
 * @example
 * const trainer = new SFTTrainer({ model, tokenizer, trainDataset, peftConfig: { peftType: 'LORA' }, args: { outputDir: 'out' } });
 * await trainer.train();
 */
export class SFTTrainer extends Trainer<SftArguments, SftArgumentsInput> {
  constructor(options: SftTrainerOptions) {
    checkTrainerOptions(
      new.target.name,
      options,
      optionNames,
      Object.keys(sftArgumentsSchema.shape),
    );
    const { formattingFunc, ...rest } = options;
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
        schema: sftArgumentsSchema,
        defaults: { learningRate: 2e-5, loggingSteps: 10, maxLength: 1024 },
      },
    );
  }
}
