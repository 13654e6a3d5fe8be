import { z } from 'zod';
import type { Engine } from '../tensor/engine.js';
import { adamw } from '../tensor/ops/optimizer.js';
import type { Tensor } from '../tensor/tensor.js';
import { type OptionsInput, parseOptions } from '../util/options.js';
import { ArenaOptimizer, type ArenaOptions, arenaShape } from './arenaOptimizer.js';
import { defineOptimizer } from './definition.js';
import { type ElementwiseRule, elementwiseRule } from './pageableRule.js';
import type { ParameterGroup } from './parameterGroups.js';

/** What AdamW takes, with torch's defaults. */
export const adamwShape = {
  /** Decay rate of the first moment. Default 0.9. */
  beta1: z.number().min(0).lt(1).default(0.9).meta({ aka: 'adambeta1' }),
  /** Decay rate of the second moment. Default 0.999. */
  beta2: z.number().min(0).lt(1).default(0.999).meta({ aka: 'adambeta2' }),
  /** Added to the root of the second moment. Default 1e-8. */
  eps: z.number().min(0).default(1e-8).meta({ aka: 'epsilon adamepsilon' }),
};
const adamwOptions = z.strictObject({ ...adamwShape, ...arenaShape });

/** Options of {@link AdamW}, with torch's defaults. */
export type AdamWOptions = OptionsInput<typeof adamwShape> & ArenaOptions;

/**
 * AdamW (Loshchilov and Hutter, arXiv:1711.05101), as torch.optim.AdamW:
 *
 *     p *= 1 - lr wd;  m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2
 *     p -= lr (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps)
 */
export class AdamW extends ArenaOptimizer<readonly Tensor[]> {
  /** @throws UNKNOWN_OPTION, INVALID_OPTION, OPTIMIZER_DTYPE, OPTIMIZER_EMPTY */
  constructor(engine: Engine, groups: readonly ParameterGroup[], options: AdamWOptions = {}) {
    const checked = parseOptions(adamwOptions, options, { where: 'AdamW' });
    super(engine, groups, adamwRule(checked), checked);
  }
}

/** The update of AdamW, as an op and its state. */
export function adamwRule(options: AdamWOptions): ElementwiseRule {
  const { beta1 = 0.9, beta2 = 0.999, eps = 1e-8 } = options;
  return elementwiseRule(
    ['exp_avg', 'exp_avg_sq'],
    ({ values, grads, weightDecay }, [first, second], { lr, step, clip }) =>
      adamw({ parameter: values, first: first!, second: second! }, grads, clip, {
        lr,
        beta1,
        beta2,
        eps,
        weightDecay,
        biasCorrection1: 1 - beta1 ** step,
        biasCorrection2: 1 - beta2 ** step,
      }),
  );
}

/** `optim: "adamw_torch"`, with adamBeta1, adamBeta2, adamEpsilon. */
export const adamwDefinition = defineOptimizer({
  name: 'adamw_torch',
  options: z.strictObject({}),
  create: (engine, groups, { adamBeta1, adamBeta2, adamEpsilon }) =>
    new AdamW(engine, groups, { beta1: adamBeta1, beta2: adamBeta2, eps: adamEpsilon }),
});
