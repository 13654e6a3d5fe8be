import { ReferenceBackend } from '../backend/reference/referenceBackend.js';
import type { Module, Parameter } from '../nn/module.js';
import type { Tensor } from '../tensor/tensor.js';
import { AttuneError } from '../util/errors.js';

/** The backend of kits, which look at every number at once. */
export function referenceOf({ engine }: Pick<Tensor, 'engine'>): ReferenceBackend {
  if (engine.backend instanceof ReferenceBackend) return engine.backend;
  throw new AttuneError('KIT', `a kit runs on "${engine.backend.info.name}".`, {
    remedy: 'Open its Attune with backend: "reference".',
  });
}

/** A copy of the values, in float64. */
export const valuesOf = (tensor: Tensor): Float64Array =>
  Float64Array.from(referenceOf(tensor).peek(tensor.operand));

/** Adds to the values of a parameter, in float64. */
export function move({ tensor }: Parameter, by: (i: number) => number): void {
  const values = valuesOf(tensor);
  referenceOf(tensor).poke(
    tensor.operand,
    values.map((value, i) => value + by(i)),
  );
}

/** Largest |a - b|; NaN on one side, or another length, is infinitely far. */
export function distance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  let largest = 0;
  for (let i = 0; i < a.length; i++) {
    if (Object.is(a[i], b[i])) continue;
    const apart = Math.abs(a[i]! - b[i]!);
    if (!(apart <= largest)) largest = Number.isNaN(apart) ? Number.POSITIVE_INFINITY : apart;
  }
  return largest;
}

/** Largest magnitude. */
export const largest = (values: ArrayLike<number>): number =>
  Array.prototype.reduce.call(
    values,
    (most, value) => Math.max(most as number, Math.abs(value as number)),
    0,
  ) as number;

/** The trainable parameters below, by name. */
export const trainedOf = (root: Module): Map<string, Parameter> =>
  new Map([...root.namedParameters()].filter(([, { trainable }]) => trainable));

/** Gradients of `loss()`, by the names of the parameters that have one. Leaves none behind. */
export function gradientsOf(root: Module, loss: () => Tensor): Map<string, Float64Array> {
  const found = new Map<string, Float64Array>();
  const parameters = trainedOf(root);
  const [first] = parameters.values();
  if (!first) return found;
  const { engine } = first.tensor;
  engine.scope('backward', () => engine.backward(loss()));
  for (const [name, parameter] of parameters) {
    const { grad } = parameter.tensor;
    if (grad) found.set(name, valuesOf(grad));
    parameter.clearGrad();
  }
  return found;
}

/** A parameter whose gradient is not that of central differences. */
export interface WrongGradient {
  readonly name: string;
  readonly analytic: number;
  readonly numeric: number;
}

/**
 * Compares each parameter's gradient with central differences along one direction, in float64: two
 * evaluations for each parameter, whatever its size.
 */
export function wrongGradients(
  root: Module,
  loss: () => Tensor,
  found: ReadonlyMap<string, Float64Array> = gradientsOf(root, loss),
): WrongGradient[] {
  const evaluate = (engine: Tensor['engine']): number =>
    engine.noGrad(() => engine.scope('loss', () => valuesOf(loss())[0]!));
  const along = (i: number) => Math.cos(3 * i + 1);
  const h = 1e-5;
  return [...trainedOf(root)].flatMap(([name, parameter]) => {
    const { engine } = parameter.tensor;
    move(parameter, (i) => h * along(i));
    const above = evaluate(engine);
    move(parameter, (i) => -2 * h * along(i));
    const below = evaluate(engine);
    move(parameter, (i) => h * along(i));
    const numeric = (above - below) / (2 * h);
    const gradient = found.get(name) ?? new Float64Array(parameter.size);
    const analytic = gradient.reduce((sum, g, i) => sum + g * along(i), 0);
    const scale = Math.max(1e-2, Math.abs(numeric), largest(gradient));
    return Math.abs(analytic - numeric) <= 1e-5 * scale ? [] : [{ name, analytic, numeric }];
  });
}
