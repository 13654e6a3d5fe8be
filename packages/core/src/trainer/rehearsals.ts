import type { HostBatch } from '../training/batch.js';
import { TrainerState } from '../training/trainerState.js';
import { GroupUpdates } from './loop/groupUpdates.js';
import { countItems, recordUpdate } from './loop/recordUpdate.js';
import { noTrainingRows } from './run/countUpdates.js';
import type { TrainingLoader } from './run/dataCursor.js';
import { keptState } from './run/objectiveRecord.js';
import { TrainingRun } from './run/trainingRun.js';
import type { TrainingContext } from './trainingContext.js';

/**
 * An update with learning rate 0 of these micro-batches, or of what the objective makes of them.
 */
export type Rehearse = (group: readonly HostBatch[]) => Promise<void>;

/**
 * Updates as training makes them, but with learning rate 0 and without callbacks: they leave no
 * trace in the model or in the state of the trainer. For measuring them.
 */
export async function rehearse<T>(
  context: TrainingContext,
  loader: TrainingLoader,
  use: (update: Rehearse) => Promise<T>,
): Promise<T> {
  const { objective } = context;
  // Each rank rehearses for itself.
  const alone = { ...context, ranks: null };
  const state = new TrainerState();
  const nothing = { output: null, checkpoint: null, position: null };
  await using _ = await keptState(objective);
  await using run = await TrainingRun.start(alone, { state, loader, ...nothing });
  const { device } = run;
  return await use(async (group) => {
    await using updates = new GroupUpdates(alone, run, group);
    const { batches } = (await updates.next()) ?? { batches: group };
    const items = countItems(objective, batches, 1);
    for (const moment of recordUpdate(context, device, batches, items, 0))
      if (moment === 'stepped') await device.settle();
    device.optimizer.zeroGrad();
  });
}

/** The first group of micro-batches. @throws NO_TRAINING_ROWS */
export async function firstGroup(
  loader: TrainingLoader,
  size: number,
): Promise<readonly HostBatch[]> {
  for await (const { batches } of loader.groups(0, size)) return batches;
  throw noTrainingRows();
}
