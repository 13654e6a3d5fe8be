import type { EvalMetrics } from '../callbacks/callback.js';
import { PADDING_SEGMENT } from '../dataset/collator.js';
import type { Loader } from '../dataset/loader.js';
import type { LanguageModel } from '../models/languageModel.js';
import type { ComputeDType } from '../tensor/dtype.js';
import type { HostBatch, Objective } from './objective.js';
import { Pacer } from './pacer.js';
import { Records } from './records.js';
import { evalName } from './trainingArguments.js';
import { upload } from './upload.js';

/** Tokens of a batch without padding; 0 where a batch has no token ids. */
export function countTokens(batch: HostBatch): number {
  const { inputIds, segments } = batch;
  if (!inputIds) return 0;
  if (!segments) return inputIds.data.length;
  let count = 0;
  for (const segment of segments.data) if (segment !== PADDING_SEGMENT) count++;
  return count;
}

/**
 * The objective's loss over all rows, each item weighing the same whatever the batch size. (Hugging
 * Face averages the means of batches, so its eval_loss moves with the batch size.)
 *
 * One number of each batch stays on the device until the end; logits never outlive their batch.
 */
export async function evaluate<Example>(
  model: LanguageModel,
  objective: Objective<Example>,
  loader: Loader<Example>,
  compute: ComputeDType = 'float32',
): Promise<EvalMetrics> {
  const { engine, root } = model;
  const started = performance.now();
  const wasTraining = root.training;
  const records = new Records(engine);
  const pacer = new Pacer(engine.backend);
  const counts = new Map<string, number>();
  let items = 0;
  let tokens = 0;
  let names: readonly string[] = [];
  root.eval();
  try {
    for (const examples of loader.batches()) {
      const collated = objective.collate(examples);
      const batch = (await objective.prepare?.(model, [collated]))?.[0] ?? collated;
      items += objective.countItems(batch);
      tokens += countTokens(batch);
      const sums = engine.scope('evaluate', () =>
        engine.noGrad(() => {
          const { loss, metrics = {} } = engine.withCompute(compute, () =>
            objective.loss(model, upload(engine, batch)),
          );
          names = Object.keys(metrics);
          for (const name of names)
            counts.set(name, (counts.get(name) ?? 0) + metrics[name]!.count);
          return [loss, ...Object.values(metrics).map(({ sum }) => sum)];
        }),
      );
      await records.add(sums);
      for (const sum of sums) sum.dispose();
      engine.backend.flush();
      await pacer.admit();
    }
    const rows = await records.take();
    const total = (column: number) => rows.reduce((sum, row) => sum + row[column]!, 0);
    const seconds = (performance.now() - started) / 1000;
    const evalLoss = total(0) / items;
    return {
      ...Object.fromEntries(
        names.map((name, i) => [evalName(name), total(i + 1) / counts.get(name)!]),
      ),
      evalLoss,
      evalPerplexity: Math.exp(evalLoss),
      evalRuntime: seconds,
      evalSamplesPerSecond: loader.examples.length / seconds,
      evalTokensPerSecond: tokens / seconds,
    };
  } finally {
    await pacer.drain().catch(() => undefined);
    records.dispose();
    root.train(wasTraining);
  }
}
