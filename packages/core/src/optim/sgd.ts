import { z } from 'zod';
import type { Engine } from '../tensor/engine.js';
import { sgd } from '../tensor/ops/sgd.js';
import type { Tensor } from '../tensor/tensor.js';
import { type OptionsInput, parseOptions } from '../util/options.js';
import { ArenaOptimizer, type ArenaOptions, arenaShape } from './arenaOptimizer.js';
import { defineOptimizer } from './definition.js';
import { elementwiseRule } from './pageableRule.js';
import type { ParameterGroup } from './parameterGroups.js';

const sgdShape = {
  /** How much of the last direction goes on. Default 0: no buffer is kept. */
  momentum: z.number().min(0).lt(1).default(0),
  /** What the gradient loses on its way into the buffer, but for the first. Default 0. */
  dampening: z.number().min(0).max(1).default(0),
  /** Look ahead: the gradient plus momentum times the buffer. Default false. */
  nesterov: z.boolean().default(false),
};
const sgdOptions = z.strictObject({ ...sgdShape, ...arenaShape });

/** Options of {@link SGD}, with torch's defaults. */
export type SgdOptions = OptionsInput<typeof sgdShape> & ArenaOptions;

/**
 * Stochastic gradient descent, as torch.optim.SGD. Weight decay is part of the gradient here (L2):
 *
 *     g += wd p;  b = momentum b + (1 - dampening) g  (b = g in the first update)
 *     p -= lr b,  or  p -= lr (g + momentum b)  with nesterov
 *
 * Sutskever et al. 2013, http://proceedings.mlr.press/v28/sutskever13.html
 */
export class SGD extends ArenaOptimizer<readonly Tensor[]> {
  /** @throws UNKNOWN_OPTION, INVALID_OPTION, OPTIMIZER_DTYPE, OPTIMIZER_EMPTY */
  constructor(engine: Engine, groups: readonly ParameterGroup[], options: SgdOptions = {}) {
    const checked = parseOptions(sgdOptions, options, { where: 'SGD' });
    const { momentum, dampening, nesterov } = checked;
    const rule = elementwiseRule(
      momentum > 0 ? ['momentum_buffer'] : [],
      ({ values, grads, weightDecay }, [buffer = null], { lr, step, clip }) =>
        sgd({ parameter: values, buffer }, grads, clip, {
          lr,
          momentum,
          dampening,
          nesterov: Number(nesterov),
          weightDecay,
          first: Number(step === 1),
        }),
    );
    super(engine, groups, rule, checked);
  }
}

/** `optim: "sgd"`, `optimArgs: "momentum=0.9"`. */
export const sgdDefinition = defineOptimizer({
  name: 'sgd',
  options: z.strictObject(sgdShape),
  create: (engine, groups, _, options) => new SGD(engine, groups, options),
});
