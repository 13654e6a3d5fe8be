import { computeDTypeOf } from '../../training/arguments/trainingArguments.js';
import type { HostBatch } from '../../training/batch.js';
import type { LossOutput, Objective } from '../../training/objective.js';
import { upload } from '../../training/upload.js';
import { AttuneError } from '../../util/errors.js';
import type { RunDevice } from '../run/runDevice.js';
import type { TrainingContext } from '../trainingContext.js';
import { embeddingNoise } from './neftune.js';

/**
 * Where a recorded update lets others wait:
 * - `substepEnd`: after each micro-batch but the last;
 * - `gradients`: those of the rank's own rows lie ready;
 * - `preOptimizerStep`: the gradient is complete, its norm known to the device;
 * - `stepped`: the optimizer has been recorded (`RunDevice.settle`).
 */
export type UpdateMoment = 'substepEnd' | 'gradients' | 'preOptimizerStep' | 'stepped';

type Recorded = Pick<TrainingContext, 'model' | 'objective' | 'args'>;

/**
 * One update: forward and backward of each micro-batch, clipping, the optimizer. Records only, and
 * is the one body of training, of rehearsals and of planning: whoever drains it waits, or does not,
 * at the moments that it yields. See "One training step" in docs/architecture.md.
 *
 * @param items what every loss is divided by: of all micro-batches together
 */
export function* recordUpdate(
  context: Recorded,
  device: RunDevice,
  batches: readonly HostBatch[],
  items: number,
  learningRate: number,
): Generator<UpdateMoment, void, void> {
  const { args, model } = context;
  const { engine } = model;
  const { optimizer, meter, lossScaler } = device;
  meter.beginStep();
  for (const [i, batch] of batches.entries()) {
    if (i > 0) yield 'substepEnd';
    engine.scope('micro', recordMicroBatch, context, device, batch, items);
  }
  yield 'gradients';
  const clip = optimizer.clipGradNorm(args.maxGradNorm, lossScaler?.scale); // [norm, coefficient, finite]
  meter.guard(clip);
  yield 'preOptimizerStep';
  optimizer.step({ lr: learningRate, clip });
  yield 'stepped';
  lossScaler?.update(clip);
  meter.endStep(clip);
  clip.dispose();
  engine.backend.flush();
}

/** Forward and backward of one micro-batch; its gradients are added to those that are there. */
function recordMicroBatch(
  context: Recorded,
  { meter, lossScaler }: RunDevice,
  batch: HostBatch,
  items: number,
): void {
  const { model, objective } = context;
  const { engine } = model;
  // What the backward pass does not read ends with the forward pass.
  const output = engine.scope('forward', recordForward, context, batch);
  meter.add(output, 1 / items, objective.countItems(batch));
  engine.backward(output.loss, { scale: 1 / items, lossScale: lossScaler?.scale ?? null });
}

function recordForward({ args, model, objective }: Recorded, batch: HostBatch): LossOutput {
  const { engine } = model;
  using _noise = embeddingNoise(model, args.neftuneNoiseAlpha, batch);
  using _compute = engine.computing(computeDTypeOf(args));
  return objective.loss(model, upload(engine, batch, model));
}

/**
 * The count that every loss of an update is divided by, over all its micro-batches.
 *
 * @param step the update, for the error
 * @throws NO_ITEMS
 */
export function countItems(
  objective: Objective,
  batches: readonly HostBatch[],
  step: number,
): number {
  return checkItems(sumItems(objective, batches), step);
}

export const sumItems = (objective: Objective, batches: readonly HostBatch[]): number =>
  batches.reduce((n, batch) => n + objective.countItems(batch), 0);

/** @throws NO_ITEMS */
export function checkItems(items: number, step: number): number {
  if (items > 0) return items;
  throw new AttuneError(
    'NO_ITEMS',
    `update ${step}: its batches have nothing to learn from, so there is no loss to divide.`,
    { remedy: 'Look at the labels of these rows: all of them are -100.' },
  );
}
