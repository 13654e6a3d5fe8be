import { z } from 'zod';
import type { StageContext } from '../contract/dataStage.js';
import { Asking } from '../providers/asking.js';
import { type ProviderChoice, providerChoice } from '../providers/providerChoice.js';

/** Options that all stages have which ask a model. */
export const askingShape = {
  /** Who is asked. */
  provider: providerChoice.meta({ aka: 'model llm generator' }),
  /** Default 0.7. */
  temperature: z.number().min(0).default(0.7),
  /** Most tokens of what is written. Default 1024. */
  maxTokens: z.int().min(1).default(1024).meta({ aka: 'maxnewtokens' }),
  /** Default: the pipeline's seed. */
  seed: z.int().min(0).optional(),
};

/** The provider of a stage: each answer is kept in the stage's cache. */
export const askingOf = (
  choice: ProviderChoice,
  { attune, cache, signal }: StageContext,
  where: string,
): Asking => new Asking(choice, { attune, cache, signal, where });
