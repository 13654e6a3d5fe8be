import { countTokens } from '../../evaluation/evaluate.js';
import type { Update } from '../../training/updates.js';
import type { TrainingRun } from '../run/trainingRun.js';
import type { TrainingContext } from '../trainingContext.js';
import { checkItems, recordUpdate, sumItems } from './recordUpdate.js';

/**
 * One update of a run, with everything that waits in it: see "One training step" in
 * docs/architecture.md.
 *
 * @throws NO_ITEMS, ADAPTERS_CHANGED, CALLBACK_FAILED
 */
export async function update(
  context: TrainingContext,
  run: TrainingRun,
  { batches, metrics = {} }: Update,
): Promise<void> {
  const { objective, callbacks, ranks } = context;
  const { device, state } = run;
  const learningRate = run.beginUpdate();
  await callbacks.call('onStepBegin');
  run.adapters.checkActive();
  let items = sumItems(objective, batches);
  let tokens = batches.reduce((n, batch) => n + countTokens(batch), 0);
  if (ranks) [items, tokens] = (await ranks.sum([items, tokens])) as [number, number];
  checkItems(items, state.globalStep + 1);
  for (const moment of recordUpdate(context, device, batches, items, learningRate))
    switch (moment) {
      case 'substepEnd':
        await device.pacer.pause();
        await callbacks.call('onSubstepEnd');
        break;
      case 'gradients':
        device.meter.addHost(metrics);
        if (ranks) await ranks.sumGradients(device);
        break;
      case 'preOptimizerStep':
        await callbacks.call('onPreOptimizerStep');
        break;
      case 'stepped':
        await device.settle();
    }
  try {
    await callbacks.call('onOptimizerStep');
  } finally {
    // The update is done, whatever a callback says about it.
    run.endUpdate(learningRate, tokens);
  }
}
