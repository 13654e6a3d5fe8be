import { AttuneError } from '@attune/core';
import { z } from 'zod';
import type { PeftConfigBase } from '../contract/config.js';
import { definePeftMethod } from '../contract/definePeftMethod.js';

/** What a user may write for BitFit: it has no options of its own. */
export interface BitfitConfig
  extends Pick<
    PeftConfigBase,
    'modulesToSave' | 'taskType' | 'baseModelNameOrPath' | 'revision' | 'inferenceMode'
  > {
  /** BitFit: the biases of the model are trained. */
  readonly peftType: 'BITFIT';
}

/**
 * BitFit: only the biases are trained, b' in y = W x + b'. Llama has none, Qwen2 those of q_proj,
 * k_proj and v_proj.
 *
 * The adapter trains float32 copies, 4 bytes a bias; the base stays the base when it is off. PEFT
 * has no such method: its LoRA with `bias: 'all'` trains them beside A and B, and changes the base.
 *
 * @see arXiv:2106.10199 (Ben Zaken et al.). The head of a classifier is trained with them there:
 *   name it in `modulesToSave`.
 */
export const bitfit = definePeftMethod({
  peftType: 'BITFIT',
  config: z.object({}),
  without: ['targetModules', 'excludeModules', 'layersToTransform', 'layersPattern', 'bias'],
  select: ({ modelType, parameters }) => {
    const biases = parameters.map(({ name }) => name).filter((name) => /(^|\.)bias$/.test(name));
    if (biases.length > 0) return biases;
    throw new AttuneError(
      'PEFT_NO_BIAS',
      `BITFIT trains biases, and this ${modelType} model has none: nothing would be trained.`,
      {
        remedy:
          'Train as little in another way: IA3 (one factor a feature), LAYER_SELECT with targetModules (norms, say), VERA, or LORA of rank 1.',
      },
    );
  },
});
