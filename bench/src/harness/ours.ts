import { defineOp, type Engine, type Tensor } from '@attune/core';
import { someValues } from '../models/tinyLm.js';
import type { Contender } from './measure.js';

/** Records `work` some times and waits for the device; what it makes is freed. */
export const ours = (engine: Engine, work: () => void, inner = 1): Contender => ({
  async run() {
    for (let i = 0; i < inner; i++) engine.scope('bench', work);
    await engine.backend.sync();
  },
});

/** Random values on the device until the process ends. */
export function input(
  engine: Engine,
  shape: readonly number[],
  options: { readonly seed?: number; readonly trainable?: boolean } = {},
): Tensor {
  const size = shape.reduce((n, d) => n * d, 1);
  const tensor = engine.keep(engine.tensor(someValues(size, options.seed ?? 1), shape));
  tensor.requiresGrad = options.trainable ?? false;
  return tensor;
}

/**
 * Stands for the rest of a model: a loss whose gradient with respect to the first input is the
 * second.
 */
const restOfModel = defineOp({
  name: 'benchRestOfModel',
  infer: () => [{ shape: [1], dtype: 'float32' }],
  decompose: (_inputs, _attrs, engine) => [engine.zeros([1])],
  vjp: ({ inputs: [, g] }) => [g!, null],
  saves: { inputs: [1] },
});

/**
 * Backward from `y`, whose gradient is `g`; without `g` from `y` as the loss. The gradients of
 * `leaves` are freed.
 */
export function backward(leaves: readonly Tensor[], y: Tensor, g?: Tensor): void {
  const { engine } = y;
  engine.backward(g ? engine.run(restOfModel, [y, g], {})[0]! : y);
  for (const leaf of leaves) {
    leaf.grad?.dispose();
    leaf.grad = null;
  }
}

/**
 * How often a piece of work is repeated before one wait, so that waiting is a small part of it:
 * about 10 ms of arithmetic on a software device, and on the fastest of GPUs.
 */
export function repeats(flops: number, software: boolean): number {
  const enough = software ? 3e8 : 1e12;
  return Math.max(1, Math.min(200, Math.round(enough / flops)));
}
