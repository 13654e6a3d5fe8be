import { AttuneError, ops, type Tensor } from '@attune/core';
import type { OptionsInput } from '@attune/core/util';
import { z } from 'zod';
import type { PeftConfigBase } from '../contract/config.js';
import { definePeftMethod } from '../contract/definePeftMethod.js';

const activations: Readonly<Record<string, (x: Tensor) => Tensor>> = {
  relu: (x) => x.relu(),
  gelu: (x) => x.gelu(),
  silu: (x) => x.silu(),
  tanh: (x) => x.tanh(),
};

const shape = {
  /**
   * "houlsby": after attention and after the MLP of each layer. "pfeiffer": after the MLP alone.
   * Default "houlsby".
   */
  variant: z.enum(['houlsby', 'pfeiffer']).default('houlsby'),
  /** The bottleneck is this much narrower than the model. Usual 2-64. Default 16. */
  reductionFactor: z.number().positive().default(16).meta({ aka: 'reduction' }),
  /** Width of the bottleneck itself, instead of reductionFactor. Default null. */
  bottleneckSize: z.int().min(1).nullable().default(null).meta({ aka: 'bottleneck adaptersize' }),
  /**
   * Between the two products of the bottleneck. Default: silu for houlsby, relu for pfeiffer, as in
   * AdapterHub.
   */
  nonLinearity: z
    .enum(['relu', 'gelu', 'silu', 'tanh'])
    .nullable()
    .default(null)
    .meta({ aka: 'activation' }),
};
const config = z.object(shape);

/** What a user may write for bottleneck adapters. */
export interface AdapterConfig
  extends OptionsInput<typeof shape>,
    Omit<PeftConfigBase, 'bias' | 'targetModules'> {
  /** Bottleneck adapters: a small network after attention and MLP of each layer. */
  readonly peftType: 'ADAPTER';
  /**
   * Which blocks, instead of those of the variant, e.g. ["mlp"]: modules whose output is as wide as
   * the model. Default: those of the variant.
   */
  readonly targetModules?: readonly string[] | string | null;
}

/**
 * Bottleneck adapter: h + W_up act(W_down h + b_down) + b_up, where h is what a block gives, before
 * it is added to the residual stream; W_down [b, D], W_up [D, b]. W_up and the biases start at 0,
 * so that step 0 is the base.
 *
 * D is the model's hidden size, b = max(1, floor(D / reductionFactor)) or bottleneckSize. It cannot
 * be merged: there is an activation in it. PEFT has no such method, and there is no file format of
 * several tools.
 *
 * @see arXiv:1902.00751 (Houlsby et al.), arXiv:2005.00247 (Pfeiffer et al.). The papers start near
 *   zero with a small normal; here W_down starts uniform in +-1/sqrt(D). They train the layer norms
 *   too: name those in modulesToSave.
 */
export const bottleneck = definePeftMethod({
  peftType: 'ADAPTER',
  config,
  without: ['bias'],
  targets: 'module',
  resolve: (options, { modelType, hiddenSize }) => {
    const { variant, bottleneckSize, reductionFactor } = options;
    const isHoulsby = variant === 'houlsby';
    const attention = modelType === 'gpt2' ? 'attn' : 'self_attn';
    return {
      ...options,
      targetModules: options.targetModules ?? (isHoulsby ? [attention, 'mlp'] : ['mlp']),
      bottleneckSize: bottleneckSize ?? Math.max(1, Math.floor(hiddenSize / reductionFactor)),
      nonLinearity: options.nonLinearity ?? (isHoulsby ? 'silu' : 'relu'),
    };
  },
  params: ({ outFeatures }, { bottleneckSize }) => {
    const size = bottleneckSize!;
    return {
      down: { shape: [size, outFeatures], init: 'kaimingUniform', key: 'adapter_down.weight' },
      downBias: { shape: [size], init: 'zeros', key: 'adapter_down.bias' },
      up: { shape: [outFeatures, size], init: 'zeros', key: 'adapter_up.weight' },
      upBias: { shape: [outFeatures], init: 'zeros', key: 'adapter_up.bias' },
    };
  },
  forward: (x, base, p, { nonLinearity }, { layer }) => {
    const h = base(x);
    if (h.shape.at(-1) !== layer.outFeatures)
      throw new AttuneError(
        'SHAPE_MISMATCH',
        `ADAPTER on ${layer.path}: its output is ${h.shape.at(-1)} wide, the model ${layer.outFeatures}.`,
        { remedy: 'Name blocks whose output is as wide as the model: self_attn, mlp.' },
      );
    const low = activations[nonLinearity!]!(ops.linear(h, p.down, p.downBias)); // [.., b]
    return h.add(ops.linear(low, p.up, p.upBias)); // [.., D]
  },
});
