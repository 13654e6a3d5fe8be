import { z } from 'zod';
import type { PeftConfigBase } from '../contract/config.js';
import { definePeftMethod } from '../contract/definePeftMethod.js';

/** What a user may write for full fine-tuning: it has no options. */
export interface FullConfig
  extends Pick<PeftConfigBase, 'taskType' | 'baseModelNameOrPath' | 'revision' | 'inferenceMode'> {
  /** Full fine-tuning: copies of all parameters are trained, and the base stays. */
  readonly peftType: 'FULL';
}

/**
 * Full fine-tuning as a method: every parameter is trained, w' in the place of w.
 *
 * The adapter trains float32 copies of all of them, so it costs 4 bytes a parameter beside the
 * base, its gradients and the optimizer's state; in exchange the base stays (a reference model for
 * DPO without a second one, other adapters), and the file is a whole model in float32. To train a
 * model in its own place, without that, give the Trainer the model without a `peftConfig`.
 * Quantised weights cannot be trained.
 */
export const full = definePeftMethod({
  peftType: 'FULL',
  config: z.object({}),
  without: [
    'targetModules',
    'excludeModules',
    'modulesToSave',
    'layersToTransform',
    'layersPattern',
    'bias',
  ],
  select: ({ parameters }) => parameters.map(({ name }) => name),
});
