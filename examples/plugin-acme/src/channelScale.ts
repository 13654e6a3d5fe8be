import { definePeftMethod, type PeftConfigBase } from '@attune/peft';
import { z } from 'zod';

/**
 * y = s * (W x + b): one scale per output feature, starting at 1, so that step 0 equals the base
 * model.
 */
export const channelScale = definePeftMethod({
  peftType: 'CHANNEL_SCALE',
  config: z.object({ init: z.number().default(1) }), // targetModules, modulesToSave, ... come with every method
  params: (layer, config) => ({
    scale: { shape: [layer.outFeatures], init: { constant: config.init } },
  }),
  forward: (x, base, p) => base(x).mul(p.scale), // [.., out] * [out]; base may be quantised
  mergedWeight: (weight, p) => weight.mul(p.scale.unsqueeze(1)), // [out, in] * [out, 1]
  mergedBias: (bias, p) => bias.mul(p.scale), // the scale is on W x + b
});

/**
 * What a user may write for it: editors then know the options, and a wrong one does not compile.
 */
export interface ChannelScaleConfig extends PeftConfigBase {
  /** One learned scale for each output feature. */
  readonly peftType: 'CHANNEL_SCALE';
  /** What the scales start at; 1 is the base model. Default 1. */
  readonly init?: number;
}

declare global {
  interface AttunePeftConfigs {
    CHANNEL_SCALE: ChannelScaleConfig;
  }
}
