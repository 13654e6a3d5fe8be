import { z } from 'zod';
import type { DataRow } from '../contract/dataRow.js';
import type { StageContext } from '../contract/dataStage.js';
import { Asking } from '../providers/asking.js';
import { type ProviderChoice, providerChoice } from '../providers/providerChoice.js';
import type { Refusal } from '../providers/refusal.js';

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
  /**
   * What a request does that is refused for its own texts: filtered, too long, never answered in
   * words that can be read. "drop": what would come of it is left out; "quarantine": it is put
   * aside, with the provider's words; "end": the run ends. Default "drop". What concerns all
   * requests (a wrong key, model or address) ends it always.
   */
  onRefusal: z.enum(['drop', 'quarantine', 'end']).default('drop').meta({ aka: 'onerror' }),
};

type OnRefusal = z.output<typeof askingShape.onRefusal>;

/** The provider of a stage: each answer is kept in the stage's cache. */
export const askingOf = (
  choice: ProviderChoice,
  onRefusal: OnRefusal,
  { attune, cache, signal }: StageContext,
  where: string,
): Asking => new Asking(choice, { attune, cache, signal, where, refusalEnds: onRefusal === 'end' });

/** Counts a row whose request was refused. */
export function leaveOut(
  context: StageContext,
  onRefusal: OnRefusal,
  row: DataRow,
  { reason, detail }: Refusal,
): void {
  if (onRefusal === 'quarantine') context.quarantine(row, reason, detail);
  else context.drop(row, reason, detail);
}
