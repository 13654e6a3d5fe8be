import type { ComputeDType } from '../backend/dtype.js';
import { inference } from '../models/inference.js';
import type { LanguageModel } from '../models/languageModel.js';
import type { Tensor } from '../tensor/tensor.js';
import { describeValue } from '../util/describeValue.js';
import { AttuneError } from '../util/errors.js';
import type { Logger } from '../util/logger.js';
import { philox } from '../util/rng.js';
import type { DeviceBatch, HostBatch, HostTensor } from './batch.js';
import type { Objective } from './objective.js';
import type { RowUse } from './rowRules.js';
import { trainedRoot } from './trainedRoot.js';
import { upload } from './upload.js';

/**
 * Numbers that the host knows, e.g. the mean reward of a rollout. As sums of the device, they are
 * logged as sum / count over the updates since the last log. A number by itself counts once.
 */
export type HostMetrics = Readonly<
  Record<string, number | { readonly sum: number; readonly count: number }>
>;

/** By name, the sum and the count of each. */
export const hostSums = (
  metrics: HostMetrics,
): [name: string, { readonly sum: number; readonly count: number }][] =>
  Object.entries(metrics).map(([name, value]) => [
    name,
    typeof value === 'number' ? { sum: value, count: 1 } : value,
  ]);

/**
 * One name is one number.
 *
 * @param device names of the metrics that `loss` gives
 * @throws OBJECTIVE_METRIC
 */
export function checkNames(metrics: HostMetrics, device: ReadonlyMap<string, unknown>): void {
  for (const name of Object.keys(metrics))
    if (device.has(name))
      throw new AttuneError(
        'OBJECTIVE_METRIC',
        `the metric "${name}" comes from updates() and from loss() of the objective.`,
        { remedy: 'Rename one of them.' },
      );
}

/** What one optimizer update is made of. */
export interface Update {
  /** Its micro-batches. */
  readonly batches: readonly HostBatch[];
  /** Numbers to log that are known before it is made. */
  readonly metrics?: HostMetrics;
}

/** What `Objective.updates` is told. */
export interface UpdateContext {
  readonly model: LanguageModel;
  /** Number of the first update that the group gives, from 1. In an evaluation: updates done. */
  readonly step: number;
  /**
   * Seed of what is drawn for this group. It follows from the seed of the run and `step`; in an
   * evaluation from the seed and the place of the batch. So a resumed run draws the same.
   */
  readonly seed: number;
  readonly use: RowUse;
  /**
   * Aborts when the run is to end (Ctrl-C, `train({ signal })`) while the group's first update is
   * being made. Pass it on, or call `throwIfAborted()` between pieces of work. What is thrown then
   * ends the run with a checkpoint of before this group. A group whose first update was made is
   * finished.
   */
  readonly signal: AbortSignal;
  /** What `loss` computes products in. */
  readonly computeDType: ComputeDType;
  readonly logger: Logger;
  /**
   * Records `fn` with the batch on the device, as `loss` will be recorded, in the same dtype, but
   * without gradients, dropout and noise, and reads back what it returns: float32 or int32 tensors.
   * Log-probs from here equal those of the loss, bit for bit where the loss has no dropout.
   *
   * @example const old = await inference(batch, (b) => ({ old: sequenceLogProbs(model, b).sums }));
   */
  inference(
    batch: HostBatch,
    fn: (batch: DeviceBatch) => Readonly<Record<string, Tensor>>,
  ): Promise<HostBatch>;
}

/** Where in a run a group stands. */
export interface UpdateFacts extends Omit<UpdateContext, 'inference'> {
  /** The seed of the run. */
  readonly seed: number;
  /** Aborts when the run is to end. */
  readonly signal: AbortSignal;
  /** In an evaluation, which batch it is. Default 0. */
  readonly place?: number;
}

/**
 * The updates that an objective makes of a group: by default one, of the group as it is.
 *
 * @throws OBJECTIVE_UPDATES; the reason of the signal, whatever `updates` throws, once the signal
 *   has aborted and there was no update
 */
export async function* updatesOf(
  objective: Objective,
  batches: readonly HostBatch[],
  { place = 0, ...facts }: UpdateFacts,
): AsyncGenerator<Update> {
  if (!objective.updates) {
    yield { batches };
    return;
  }
  const { signal, logger } = facts;
  const making = new AbortController();
  const stop = () => making.abort(signal.reason);
  if (signal.aborted) stop();
  else signal.addEventListener('abort', stop);
  let isFirst = true;
  try {
    const context = {
      ...facts,
      seed: groupSeed(facts, place),
      signal: making.signal,
      inference: reader(objective, facts),
    };
    for await (const update of asUpdates(objective, batches, context)) {
      isFirst = false;
      signal.removeEventListener('abort', stop);
      yield update;
    }
  } catch (error) {
    if (!isFirst || !signal.aborted) throw error;
    // A client that was told to stop throws an error of its own.
    if (error !== signal.reason)
      logger.info(
        `objective "${objective.name}" was told to stop: ${error instanceof Error ? error.message : String(error)}`,
      );
    throw signal.reason;
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

/** What `updates` of an objective gives. @throws OBJECTIVE_UPDATES for what is no update */
async function* asUpdates(
  objective: Objective,
  batches: readonly HostBatch[],
  context: UpdateContext,
): AsyncGenerator<Update> {
  const given: unknown = objective.updates!(batches, context);
  const wrong = (found: string) =>
    new AttuneError('OBJECTIVE_UPDATES', `objective "${objective.name}": updates() ${found}.`, {
      remedy: 'Write async *updates(group, context) { yield { batches: group }; }.',
    });
  if (typeof given !== 'object' || given === null || !(Symbol.asyncIterator in given))
    throw wrong(`gave ${describeValue(given)}`);
  for await (const update of given as AsyncIterable<Update>) {
    if (!Array.isArray(update?.batches)) throw wrong(`yielded ${describeValue(update)}`);
    if (update.batches.length === 0) throw wrong('yielded an update without batches');
    yield update;
  }
}

const SEEDS: Readonly<Record<RowUse, number>> = { training: 1, evaluation: 2 };

/** A u32 of its own for each group: evaluations after each other draw the same. */
function groupSeed({ seed, step, use }: UpdateFacts, place: number): number {
  const at = use === 'training' ? step : place;
  return philox([at >>> 0, 0, SEEDS[use], 0], [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0])[0];
}

/** `UpdateContext.inference`. */
const reader =
  (
    objective: Objective,
    { model, computeDType }: Pick<UpdateFacts, 'model' | 'computeDType'>,
  ): UpdateContext['inference'] =>
  async (batch, fn) => {
    const { engine } = model;
    const tensors = inference({ engine, root: trainedRoot(model, objective) }, () =>
      engine.withCompute(computeDType, () => fn(upload(engine, batch, model))),
    );
    try {
      const read = Object.entries(tensors).map(
        async ([name, tensor]): Promise<[string, HostTensor]> => {
          const dtype = tensor.dtype === 'int32' ? 'int32' : 'float32';
          return [name, { data: await tensor.data(), shape: tensor.shape, dtype }];
        },
      );
      return Object.fromEntries(await Promise.all(read));
    } finally {
      for (const tensor of Object.values(tensors)) tensor.dispose();
    }
  };
