import { countTokens } from '../../evaluation/evaluate.js';
import type { Update } from '../../training/updates.js';
import type { TrainingRun } from '../run/trainingRun.js';
import type { TrainingContext } from '../trainingContext.js';
import { countItems, recordUpdate } from './recordUpdate.js';

/**
 * One update of a run, with everything that waits in it: see "One training step" in docs/architecture.md.
 *
 * @throws NO_ITEMS, ADAPTERS_CHANGED, CALLBACK_FAILED
 */
export async function update(
  context: TrainingContext,
  run: TrainingRun,
  { batches, metrics = {} }: Update,
): Promise<void> {
  const { objective, callbacks } = context;
  const { device, state } = run;
  const learningRate = run.beginUpdate();
  await callbacks.call('onStepBegin');
  run.adapters.checkActive();
  const items = countItems(objective, batches, state.globalStep + 1);
  for (const moment of recordUpdate(context, device, batches, items, learningRate))
    switch (moment) {
      case 'substepEnd':
        await device.pacer.pause();
        await callbacks.call('onSubstepEnd');
        break;
      case 'preOptimizerStep':
        await callbacks.call('onPreOptimizerStep');
        break;
      case 'stepped':
        device.meter.addHost(metrics);
        await device.settle();
    }
  try {
    await callbacks.call('onOptimizerStep');
  } finally {
    // The update is done, whatever a callback says about it.
    run.endUpdate(
      learningRate,
      batches.reduce((n, batch) => n + countTokens(batch), 0),
    );
  }
}
