import type { ComputeDType } from '../backend/dtype.js';
import type { LanguageModel } from '../models/languageModel.js';
import type { Logger } from '../util/logger.js';
import type { HostBatch } from './batch.js';
import type { Objective } from './objective.js';
import type { RowUse } from './rowRules.js';

/** What one optimizer update is made of. */
export interface Update {
  /** Its micro-batches. */
  readonly batches: readonly HostBatch[];
}

/** What `Objective.updates` is told. */
export interface UpdateContext {
  readonly model: LanguageModel;
  /** The first update that the group gives, from 1; in an evaluation, updates done. */
  readonly step: number;
  /** The seed of the run. */
  readonly seed: number;
  readonly use: RowUse;
  /** Aborts when the run is to end: `updates` may then reject with its reason, before its first update. */
  readonly signal: AbortSignal;
  /** What `loss` computes products in. */
  readonly computeDType: ComputeDType;
  readonly logger: Logger;
}

/** The updates that an objective makes of a group: by default one, of the group as it is. */
export const updatesOf = (
  objective: Objective,
  group: readonly HostBatch[],
  context: UpdateContext,
): AsyncIterable<Update> => objective.updates?.(group, context) ?? asItIs(group);

async function* asItIs(batches: readonly HostBatch[]): AsyncGenerator<Update> {
  yield { batches };
}
