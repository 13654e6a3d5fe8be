import { z } from 'zod';
import type { Engine } from '../tensor/engine.js';
import { lion } from '../tensor/ops/lion.js';
import type { Tensor } from '../tensor/tensor.js';
import { type OptionsInput, parseOptions } from '../util/options.js';
import { ArenaOptimizer, type ArenaOptions, arenaShape } from './arenaOptimizer.js';
import { defineOptimizer } from './definition.js';
import { type ElementwiseRule, elementwiseRule } from './pageableRule.js';
import type { ParameterGroup } from './parameterGroups.js';

const lionShape = {
  /** How much of the momentum is in the direction of an update. Default 0.9. */
  beta1: z.number().min(0).lt(1).default(0.9),
  /** Decay rate of the momentum. Default 0.99. */
  beta2: z.number().min(0).lt(1).default(0.99),
};
const lionOptions = z.strictObject({ ...lionShape, ...arenaShape });

/** Options of {@link Lion}, with the defaults of bitsandbytes. */
export type LionOptions = OptionsInput<typeof lionShape> & ArenaOptions;

/**
 * Lion (Chen et al. 2023, arXiv:2302.06675): the sign of a momentum, half of Adam's memory. Wants a
 * learning rate three to ten times smaller than AdamW's, and a weight decay as much larger.
 *
 *     p *= 1 - lr wd;  p -= lr sign(b1 m + (1-b1) g);  m = b2 m + (1-b2) g
 */
export class Lion extends ArenaOptimizer<readonly Tensor[]> {
  /** @throws UNKNOWN_OPTION, INVALID_OPTION, OPTIMIZER_DTYPE, OPTIMIZER_EMPTY */
  constructor(engine: Engine, groups: readonly ParameterGroup[], options: LionOptions = {}) {
    const checked = parseOptions(lionOptions, options, { where: 'Lion' });
    super(engine, groups, lionRule(checked), checked);
  }
}

/** The update of Lion, as an op and its state. */
export function lionRule({ beta1 = 0.9, beta2 = 0.99 }: LionOptions): ElementwiseRule {
  return elementwiseRule(['exp_avg'], ({ values, grads, weightDecay }, [momentum], { lr, clip }) =>
    lion({ parameter: values, momentum: momentum! }, grads, clip, {
      lr,
      beta1,
      beta2,
      weightDecay,
    }),
  );
}

/**
 * `optim: "lion_32bit"`. As in transformers its rates are adamBeta1 and adamBeta2: 0.9 and 0.999
 * unless set.
 */
export const lionDefinition = defineOptimizer({
  name: 'lion_32bit',
  options: z.strictObject({}),
  create: (engine, groups, { adamBeta1, adamBeta2 }) =>
    new Lion(engine, groups, { beta1: adamBeta1, beta2: adamBeta2 }),
});
