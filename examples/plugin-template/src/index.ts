import { definePlugin } from '@attune/core';
import { definePeftMethod, type PeftConfigBase, PeftMethods } from '@attune/peft';
import { z } from 'zod';

/**
 * y = (1 + strength * g) (W x + b): a gain for each output feature, from 0, so that step 0 is the
 * base model.
 *
 * Say here what the formula is, where it comes from (a paper), and what differs from it.
 */
export const outputGain = definePeftMethod({
  peftType: 'OUTPUT_GAIN',
  // Its own options; targetModules, modulesToSave, ... come with every method.
  config: z.object({ strength: z.number().positive().default(1) }),
  params: (layer) => ({ gain: { shape: [layer.outFeatures], init: 'zeros' } }),
  forward: (x, base, p, config) => base(x).mul(p.gain.mul(config.strength).add(1)), // [.., out] * [out]
  mergedWeight: (weight, p, config) => weight.mul(p.gain.mul(config.strength).add(1).unsqueeze(1)), // [out, in] * [out, 1]
  mergedBias: (bias, p, config) => bias.mul(p.gain.mul(config.strength).add(1)),
  defaultTargetModules: { llama: ['v_proj', 'down_proj'], qwen2: ['v_proj', 'down_proj'] },
});

/**
 * What a user may write for it: editors then know the options, and a wrong one does not compile.
 */
export interface OutputGainConfig extends PeftConfigBase {
  /** A learned gain for each output feature. */
  readonly peftType: 'OUTPUT_GAIN';
  /** How much a gain of 1 changes. Usual 0.1-10. Default 1. */
  readonly strength?: number;
}

declare global {
  interface AttunePeftConfigs {
    OUTPUT_GAIN: OutputGainConfig;
  }
}

export const outputGainPlugin = () =>
  definePlugin({
    name: 'output-gain',
    version: '1.0.0',
    apiVersion: 1,
    register: (context) => context.add(PeftMethods, outputGain),
  });
