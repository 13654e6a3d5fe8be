import { z } from 'zod';
import { defineObjective, type ObjectiveDefinition } from '../training/objectiveDefinition.js';
import { causalLmObjective } from './causalLm.js';
import { sequenceClassificationObjective } from './sequenceClassification.js';

/** What core adds to `Objectives`. */
export const builtinObjectives: readonly ObjectiveDefinition[] = [
  defineObjective({
    name: 'causal-lm',
    options: z.strictObject({
      completionOnlyLoss: z.boolean().nullable().default(null),
      assistantOnlyLoss: z.boolean().default(false),
      packing: z.boolean().default(false),
      lossType: z.enum(['nll', 'dft']).default('nll'),
    }),
    create: ({ args }, options) =>
      causalLmObjective({
        ...options,
        maxLength: args.maxLength!,
        labelSmoothing: args.labelSmoothingFactor,
      }),
  }),
  defineObjective({
    name: 'sequence-classification',
    options: z.strictObject({}),
    create: ({ args, model }) =>
      sequenceClassificationObjective(model, { maxLength: args.maxLength! }),
  }),
];
