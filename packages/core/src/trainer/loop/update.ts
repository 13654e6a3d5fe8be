import { countTokens } from '../../evaluation/evaluate.js';
import { computeDTypeOf } from '../../training/arguments/trainingArguments.js';
import type { HostBatch } from '../../training/batch.js';
import type { CallbackContext } from '../../training/callback.js';
import type { Objective } from '../../training/objective.js';
import { upload } from '../../training/upload.js';
import { AttuneError } from '../../util/errors.js';
import type { TrainingRun } from '../run/trainingRun.js';
import { withEmbeddingNoise } from './neftune.js';

/** Moments inside of an update at which others act. */
export interface UpdateHooks {
  /** After each micro-batch but the last. */
  substepEnd?(): Promise<void>;
  /** The gradient is complete and its norm known to the device. */
  preOptimizerStep?(): Promise<void>;
}

/**
 * One update: forward and backward of each micro-batch, clipping, the optimizer at `run.learningRate`.
 * Records only; see "One training step" in docs/architecture.md.
 *
 * @param group the examples of each micro-batch
 * @returns tokens put through the model, padding left out
 * @throws NO_ITEMS, ADAPTERS_CHANGED
 */
export async function update(
  { args, state, model }: CallbackContext,
  objective: Objective,
  run: TrainingRun,
  group: readonly unknown[][],
  hooks: UpdateHooks = {},
): Promise<number> {
  const { engine } = model;
  const { optimizer, meter, lossScaler } = run;
  run.checkAdapters();
  const collated = group.map((examples) => objective.collate(examples));
  const prepared = objective.prepare?.(model, collated);
  const waits = `objective "${objective.name}" in prepare, of update ${state.globalStep + 1}`;
  const batches = (prepared && (await run.activity.during(waits, prepared))) ?? collated;
  const items = countItems(objective, batches, state.globalStep + 1);
  meter.beginStep();
  for (const [i, batch] of batches.entries()) {
    microBatch({ args, model }, objective, run, batch, items);
    if (i < batches.length - 1) await hooks.substepEnd?.();
  }
  engine.backend.flush(); // the device works while the host records on
  const clip = optimizer.clipGradNorm(args.maxGradNorm, lossScaler?.scale); // [norm, coefficient, finite]
  meter.guard(clip);
  await hooks.preOptimizerStep?.();
  optimizer.step({ lr: run.learningRate, clip });
  await optimizer.settle?.(); // state that lies in host memory
  lossScaler?.update(clip);
  await meter.endStep(clip);
  clip.dispose();
  engine.backend.flush();
  return batches.reduce((n, batch) => n + countTokens(batch), 0);
}

/** Forward and backward of one micro-batch; its gradients are added to those that are there. */
export function microBatch(
  { args, model }: Pick<CallbackContext, 'args' | 'model'>,
  objective: Objective,
  { meter, lossScaler }: Pick<TrainingRun, 'meter' | 'lossScaler'>,
  batch: HostBatch,
  items: number,
): void {
  const { engine } = model;
  engine.scope('micro', () => {
    // What the backward pass does not read ends with the forward pass.
    const output = engine.scope('forward', () =>
      withEmbeddingNoise(model, args.neftuneNoiseAlpha, batch, () =>
        engine.withCompute(computeDTypeOf(args), () =>
          objective.loss(model, upload(engine, batch, model)),
        ),
      ),
    );
    meter.add(output, 1 / items, objective.countItems(batch));
    engine.backward(output.loss, { scale: 1 / items, lossScale: lossScaler?.scale ?? null });
  });
}

/** The count that every loss of the update is divided by, over all its micro-batches. */
function countItems(objective: Objective, batches: readonly HostBatch[], step: number): number {
  const items = batches.reduce((n, batch) => n + objective.countItems(batch), 0);
  if (items > 0) return items;
  throw new AttuneError(
    'NO_ITEMS',
    `update ${step}: its batches have nothing to learn from, so there is no loss to divide.`,
    { remedy: 'Look at the labels of these rows: all of them are -100.' },
  );
}
