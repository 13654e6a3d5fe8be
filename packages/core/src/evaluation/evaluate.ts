import { Pacer } from '../backend/pacer.js';
import type { Loader } from '../dataset/loader.js';
import type { Communicator } from '../distributed/communicator.js';
import { gatherJson } from '../distributed/exchange.js';
import { DeviceTable } from '../tensor/deviceTable.js';
import type { Tensor } from '../tensor/tensor.js';
import { PADDING_SEGMENT } from '../text/collator.js';
import { metricName } from '../training/arguments/metricName.js';
import type { HostBatch } from '../training/batch.js';
import type { PredictionStep } from '../training/callback.js';
import { deviceSums, metricSums } from '../training/metricSums.js';
import type { LossOutput, Objective } from '../training/objective.js';
import { trainedRoot } from '../training/trainedRoot.js';
import {
  checkNames,
  hostSums,
  type Update,
  type UpdateFacts,
  updatesOf,
} from '../training/updates.js';
import { upload } from '../training/upload.js';
import type { Activity } from '../util/activity.js';
import type { PredictionCollector } from './predictions.js';

/** Tokens of a batch without padding; 0 where a batch has no token ids. */
export function countTokens(batch: HostBatch): number {
  const { inputIds, segments } = batch;
  if (!inputIds) return 0;
  if (!segments) return inputIds.data.length;
  let count = 0;
  for (const segment of segments.data) if (segment !== PADDING_SEGMENT) count++;
  return count;
}

export interface EvaluateOptions {
  readonly objective: Objective;
  readonly loader: Loader<unknown, HostBatch>;
  /** Its signal ends the evaluation between two batches. */
  readonly context: UpdateFacts;
  /** Keeps the outputs, if somebody asked for them. */
  readonly collector?: PredictionCollector | null;
  readonly activity: Activity;
  /** After each batch. */
  onStep(progress: PredictionStep): Promise<void>;
}

/** Sums over a set of rows: what the metrics are quotients of. */
export interface EvaluationSums {
  readonly loss: number;
  readonly items: number;
  readonly metrics: ReadonlyMap<string, { readonly sum: number; readonly count: number }>;
  readonly samples: number;
  readonly tokens: number;
  readonly seconds: number;
}

/**
 * The objective's loss over all rows, each item weighing the same whatever the batch size. (Hugging
 * Face averages the means of batches, so its eval_loss moves with the batch size.)
 *
 * One number of each batch stays on the device until the end; logits never outlive their batch.
 */
export async function evaluate(options: EvaluateOptions): Promise<EvaluationSums> {
  const { objective, loader, context, collector, activity } = options;
  const { model, signal } = context;
  const { engine } = model;
  const root = trainedRoot(model, objective);
  const started = performance.now();
  const wasTraining = root.training;
  const records = new DeviceTable(engine);
  const pacer = new Pacer(engine.backend);
  const counts = new Map<string, number>();
  let host: EvaluationSums['metrics'] = new Map();
  const batches = loader.batchesPerEpoch;
  let batchesDone = 0;
  let place = -1;
  let items = 0;
  let tokens = 0;
  let samples = 0;
  /** The sums of a batch: loss, then metrics. */
  const sumsOf = (batch: HostBatch): Tensor[] =>
    engine.scope('evaluate', () => {
      const { loss, metrics = {}, extraItems = 0 } = recordEvaluation(context, objective, batch);
      const all = objective.countItems(batch) + extraItems;
      items += all;
      const kept = deviceSums(metrics, all);
      for (const { name, count } of kept) counts.set(name, (counts.get(name) ?? 0) + count);
      return [loss, ...kept.map(({ sum }) => sum)];
    });
  root.eval();
  try {
    for await (const { batches: group, rows } of loader.groups(0, 1)) {
      signal.throwIfAborted();
      place++;
      samples += rows;
      if (group.length === 0) continue; // other ranks have rows of it
      const waits = `objective "${objective.name}" in updates, of evaluation batch ${batchesDone + 1}`;
      const update = await activity.during(
        waits,
        firstUpdate(objective, group, { ...context, place: batchesDone }),
      );
      host = addMetrics(host, hostSums(update?.metrics ?? {}));
      for (const batch of update?.batches ?? []) {
        tokens += countTokens(batch);
        const sums = sumsOf(batch);
        await records.add(sums);
        for (const sum of sums) sum.dispose();
        engine.backend.flush();
        await collector?.add(model, objective, batch, place);
        await pacer.admit();
      }
      await options.onStep({ batch: ++batchesDone, batches });
    }
    const sums = await records.take();
    const total = (column: number) => sums.reduce((sum, row) => sum + row[column]!, 0);
    const metrics = metricSums(
      [...counts].map(([name, count], i) => [name, { sum: total(i + 1), count }]),
    );
    checkNames(Object.fromEntries(host), counts);
    return {
      loss: total(0),
      items,
      metrics: addMetrics(metrics, host),
      samples,
      tokens,
      seconds: (performance.now() - started) / 1000,
    };
  } finally {
    await pacer.drain().catch(() => undefined);
    records.dispose();
    root.train(wasTraining);
  }
}

/** The loss of one batch as an evaluation has it. Records only: `planMemory` counts it so, too. */
export function recordEvaluation(
  { model, computeDType }: Pick<UpdateFacts, 'model' | 'computeDType'>,
  objective: Objective,
  batch: HostBatch,
): LossOutput {
  const { engine } = model;
  return engine.noGrad(() =>
    engine.withCompute(computeDType, () => objective.loss(model, upload(engine, batch, model))),
  );
}

/**
 * What is evaluated of a group: the first update that the objective makes of it; null: it makes
 * none.
 */
async function firstUpdate(
  objective: Objective,
  group: readonly HostBatch[],
  facts: UpdateFacts,
): Promise<Update | null> {
  for await (const update of updatesOf(objective, group, facts)) return update;
  return null;
}

/** What each rank has of a set of rows, as one: `samples` are those of all already. */
export async function sumOverRanks(
  communicator: Communicator,
  own: EvaluationSums,
): Promise<EvaluationSums> {
  const all = await gatherJson(communicator, { ...own, metrics: [...own.metrics] });
  const sums = all.map(({ loss, metrics, ...rest }) => ({
    ...rest,
    loss: loss ?? Number.NaN,
    metrics: new Map(metrics.map(([name, m]) => [name, { ...m, sum: m.sum ?? Number.NaN }])),
  }));
  const total = sums.reduce<EvaluationSums>(addSums, {
    ...sums[0]!,
    loss: 0,
    items: 0,
    metrics: new Map(),
    tokens: 0,
  });
  return { ...total, samples: own.samples, seconds: Math.max(...sums.map((s) => s.seconds)) };
}

/** Two sets of rows as one. */
export function addSums(a: EvaluationSums, b: EvaluationSums): EvaluationSums {
  return {
    loss: a.loss + b.loss,
    items: a.items + b.items,
    metrics: addMetrics(a.metrics, b.metrics),
    samples: a.samples + b.samples,
    tokens: a.tokens + b.tokens,
    seconds: a.seconds + b.seconds,
  };
}

function addMetrics(
  a: EvaluationSums['metrics'],
  b: Iterable<readonly [name: string, { readonly sum: number; readonly count: number }]>,
): EvaluationSums['metrics'] {
  const metrics = new Map(a);
  for (const [name, { sum, count }] of b) {
    const held = metrics.get(name) ?? { sum: 0, count: 0 };
    metrics.set(name, { sum: held.sum + sum, count: held.count + count });
  }
  return metrics;
}

/**
 * @param prefix "eval", "test", or "evalMath" for the set "math"
 * @param objective says whether exp(loss) is a perplexity
 */
export function toMetrics(
  sums: EvaluationSums,
  prefix: string,
  { isLogLikelihood = false }: Pick<Objective, 'isLogLikelihood'>,
): Record<string, number> {
  const { items, samples, tokens, seconds } = sums;
  const loss = sums.loss / items;
  const named = (name: string, value: number) => [metricName(prefix, name), value] as const;
  return Object.fromEntries([
    ...[...sums.metrics]
      .filter(([, { count }]) => count !== 0)
      .map(([name, { sum, count }]) => named(name, sum / count)),
    named('loss', loss),
    ...(isLogLikelihood ? [named('perplexity', Math.exp(loss))] : []),
    named('runtime', seconds),
    named('samplesPerSecond', samples / seconds),
    named('tokensPerSecond', tokens / seconds),
  ]);
}
