import { z } from 'zod';
import { ReferenceBackend } from '../backend/reference/referenceBackend.js';
import { Engine } from '../tensor/engine.js';
import type { OpDef } from '../tensor/op.js';
import { formatShape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { AttuneError } from '../util/errors.js';
import { type OptionsInput, parseOptions } from '../util/options.js';
import { Rng } from '../util/rng.js';

/** What `checkGradients` differentiates by: a float32 leaf (kept in float64) with these values. */
export interface GradientInput {
  readonly shape: readonly number[];
  readonly values: ArrayLike<number>;
}

const gradientShape = {
  /** Step of the central differences, relative to max(1, |x|). Default 1e-5. */
  step: z.number().positive().default(1e-5).meta({ aka: 'eps epsilon' }),
  /**
   * Allowed |analytic - numeric| relative to max(1, |numeric|, largest gradient of the input).
   * Default 1e-7.
   */
  tolerance: z.number().positive().default(1e-7).meta({ aka: 'tol atol rtol' }),
  /** Ops of other packages, beside the built-in table. Default none. */
  extraOps: z.custom<readonly OpDef[]>(Array.isArray, 'expected an array of ops').default([]),
};
const gradientOptions = z.strictObject(gradientShape);

/** Options of the gradient check. */
export type GradientOptions = OptionsInput<typeof gradientShape>;

/** How far a backward rule was from central differences. */
export interface GradientResult {
  readonly ok: boolean;
  /** Largest error, relative as in the tolerance. */
  readonly maxError: number;
  readonly message: string;
}

/**
 * Compares the gradients of the tape with central differences, in float64 on the reference backend.
 *
 * L = sum(fn(inputs) * w) with fixed random w in [0.5, 1.5), so that no error cancels. The numeric
 * gradient (L(x+h) - L(x-h)) / 2h errs by h^2 L'''/6 ~ 1e-11 and by rounding 2^-53 |L| / h ~ 1e-11.
 *
 * @param fn records the function. It is called 2n + 1 times for n input elements and must be pure:
 *   draw random numbers outside, dropout with a fixed `engine.dropoutDraws`.
 */
export function checkGradients(
  fn: (inputs: readonly Tensor[], engine: Engine) => Tensor,
  inputs: readonly GradientInput[],
  options: GradientOptions = {},
): GradientResult {
  const { step, tolerance, extraOps } = parseOptions(gradientOptions, options, {
    where: 'checkGradients',
  });
  const backend = new ReferenceBackend(extraOps);
  const engine = new Engine(backend);
  const leaves = inputs.map(({ shape, values }) => {
    const leaf = engine.tensor(Float32Array.from(values), shape);
    if (leaf.size > 0) backend.poke(leaf.operand, values);
    leaf.requiresGrad = true;
    return leaf;
  });

  const loss = (): Tensor => {
    const out = fn(leaves, engine);
    const rng = new Rng(1);
    const weights = Float32Array.from({ length: out.size }, () => 0.5 + rng.uniform());
    return out.mul(engine.tensor(weights, out.shape)).sum();
  };
  const evaluate = (): number =>
    engine.noGrad(() => engine.scope('evaluate', () => backend.peek(loss().operand)[0]!));

  engine.scope('analytic', () => engine.backward(loss()));

  let maxError = 0;
  let message = 'all gradients agree';
  leaves.forEach((leaf, input) => {
    // An input that nothing depends on has no gradient: all zero.
    const analytic = leaf.grad ? backend.peek(leaf.grad.operand) : new Float64Array(leaf.size);
    const x = backend.peek(leaf.operand);
    const numeric = Float64Array.from(x, (value, i) => {
      const h = step * Math.max(1, Math.abs(value));
      const put = (shifted: number): void => {
        x[i] = shifted;
        backend.poke(leaf.operand, x);
      };
      put(value + h);
      const above = evaluate();
      put(value - h);
      const below = evaluate();
      put(value);
      return (above - below) / (value + h - (value - h));
    });
    const scale = numeric.reduce((most, value) => Math.max(most, Math.abs(value)), 1);
    numeric.forEach((n, i) => {
      const error = Math.abs(analytic[i]! - n) / scale;
      if (error <= maxError) return;
      maxError = Number.isNaN(error) ? Number.POSITIVE_INFINITY : error;
      message = `input ${input} ${formatShape(leaf.shape)}, element ${i}: the tape says ${analytic[i]}, differences say ${n} (error ${error.toExponential(1)})`;
    });
  });
  return { ok: maxError <= tolerance, maxError, message };
}

/** As {@link checkGradients}, but throws GRADIENT_WRONG. */
export function assertGradients(...args: Parameters<typeof checkGradients>): void {
  const { ok, message } = checkGradients(...args);
  if (!ok)
    throw new AttuneError('GRADIENT_WRONG', `${message}.`, {
      remedy: 'Derive the backward rule again, or shrink the input until the error is plain.',
    });
}
