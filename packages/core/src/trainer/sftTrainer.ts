import { z } from 'zod';
import { causalLmObjective } from './causalLmObjective.js';
import { Trainer } from './trainer.js';
import type { TrainerOptions } from './trainerOptions.js';
import {
  type TrainingArguments,
  type TrainingArgumentsInput,
  trainingArgumentsSchema,
} from './trainingArguments.js';

interface SftOnly {
  /**
   * Learn completions only. null: where a row has one (prompt + completion), as in TRL. true on
   * conversations: what the assistant says. Default null.
   */
  readonly completionOnlyLoss: boolean | null;
  /** Of conversations, learn only what the assistant says, with any chat template. Default false. */
  readonly assistantOnlyLoss: boolean;
}

/** TrainingArguments with TRL's defaults: learningRate 2e-5, loggingSteps 10, maxLength 1024. */
export type SftArguments = TrainingArguments & SftOnly;

export type SftArgumentsInput = TrainingArgumentsInput & {
  readonly [K in keyof SftOnly]?: SftOnly[K] | undefined;
};

const sftArgumentsSchema = trainingArgumentsSchema.extend({
  completionOnlyLoss: z.boolean().nullable().default(null),
  assistantOnlyLoss: z.boolean().default(false),
});

export interface SftTrainerOptions
  extends Omit<TrainerOptions<SftArguments, SftArgumentsInput>, 'objective'> {
  /** Row -> text to learn, for rows of a format of your own. */
  readonly formattingFunc?: ((row: never) => string) | undefined;
}

/**
 * Supervised fine-tuning: next-token prediction on rows of text, prompt + completion or conversations.
 *
 * @example
 * const trainer = new SFTTrainer({ model, tokenizer, trainDataset, peftConfig: { peftType: 'LORA' }, args: { outputDir: 'out' } });
 * await trainer.train();
 */
export class SFTTrainer extends Trainer<SftArguments, SftArgumentsInput> {
  constructor(options: SftTrainerOptions) {
    const { formattingFunc, ...rest } = options;
    super(
      {
        ...rest,
        objective: (args) =>
          causalLmObjective({
            maxLength: args.maxLength!,
            completionOnlyLoss: args.completionOnlyLoss,
            assistantOnlyLoss: args.assistantOnlyLoss,
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
