import { Module, type Parameter } from '../nn/module.js';
import type { Optimizer } from '../optim/optimizer.js';
import type { Engine } from '../tensor/engine.js';
import { numel } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { referenceOf, valuesOf } from './numbers.js';

/** A matrix large enough for states in 8 bits, and small ones of odd sizes. */
export const DECAYED = { 'table.weight': [80, 64], 'layer.weight': [7, 5] } as const;
/** What weight decay leaves out. */
export const EXEMPT = { 'layer.bias': [5], 'norm.weight': [3] } as const;
/** All of them, by name. */
export const SHAPES: Readonly<Record<string, readonly number[]>> = { ...DECAYED, ...EXEMPT };

/** What the optimizers of a kit train. */
export class Parameters extends Module {
  constructor(engine: Engine, values?: ReadonlyMap<string, ArrayLike<number>>) {
    super();
    for (const [name, shape] of Object.entries(SHAPES)) {
      const start = Float32Array.from(
        values?.get(name) ?? { length: numel(shape) },
        (value: unknown, i) => (values ? (value as number) : Math.sin(i + name.length) + 0.01),
      );
      this.addParameter(name, engine.tensor(start, shape)).trainable = true;
    }
  }
}

/** What `update` may change. */
export interface UpdateOptions {
  readonly lr?: number;
  /** The loss is multiplied by it, and `clipGradNorm` told. */
  readonly lossScale?: number;
  readonly maxNorm?: number;
  /** What each gradient is multiplied by. */
  readonly by?: number;
}

/** Numbers of each parameter. */
export type Values = ReadonlyMap<string, ArrayLike<number> & { forEach: Float64Array['forEach'] }>;

interface Held {
  readonly engine: Engine;
  readonly named: ReadonlyMap<string, Parameter>;
  readonly optimizer: Optimizer;
}

/** What checks do with parameters: L = sum of 1/2 (p - target)^2, whose gradient is p - target. */
export function workWith({ engine, named, optimizer }: Held, learningRate: number) {
  const target = (name: string, i: number) => 0.5 * Math.cos(i * 7 + name.length);
  const values = () =>
    new Map([...named].map(([name, { tensor }]) => [name, valuesOf(tensor)] as const));
  const gradient = () =>
    new Map(
      [...values()].map(
        ([name, p]) => [name, p.map((value, i) => value - target(name, i))] as const,
      ),
    );
  const loss = () =>
    [...gradient().values()].reduce((n, g) => n + g.reduce((m, x) => m + x * x, 0) / 2, 0);
  const backward = (scale = 1, names: readonly string[] = [...named.keys()]) =>
    engine.scope('backward', () => {
      const terms = names.map((name) => {
        const { tensor } = named.get(name)!;
        const goal = Float32Array.from({ length: tensor.size }, (_, i) => target(name, i));
        return tensor.sub(engine.tensor(goal, tensor.shape)).square().sum();
      });
      engine.backward(terms.reduce((a, b) => a.add(b)).mul(0.5), { scale });
    });
  const clipTensor = (maxNorm: number, lossScale: number): Tensor => {
    if (lossScale === 1) return optimizer.clipGradNorm(maxNorm);
    const scale = engine.keep(engine.tensor([lossScale, 0], [2]));
    const clip = optimizer.clipGradNorm(maxNorm, scale);
    scale.dispose();
    return clip;
  };
  const clip = (maxNorm = 0, lossScale = 1): Float64Array => {
    const tensor = clipTensor(maxNorm, lossScale);
    const found = valuesOf(tensor);
    tensor.dispose();
    return found;
  };
  const step = async (lr: number, maxNorm = 0, lossScale = 1) => {
    const tensor = clipTensor(maxNorm, lossScale);
    optimizer.step({ lr, clip: tensor });
    await optimizer.settle?.();
    tensor.dispose();
    optimizer.zeroGrad();
  };
  return {
    values,
    gradient,
    loss,
    backward,
    clip,
    /** An update that no loss has reached. */
    stepAlone: () => step(learningRate),
    update: async ({
      lr = learningRate,
      lossScale = 1,
      maxNorm = 0,
      by = 1,
    }: UpdateOptions = {}) => {
      backward(lossScale);
      if (by !== 1)
        for (const { tensor } of named.values())
          referenceOf(tensor).poke(
            tensor.grad!.operand,
            valuesOf(tensor.grad!).map((g) => g * by),
          );
      await step(lr, maxNorm, lossScale);
    },
    state: async () => {
      const arrays = new Map<string, Float64Array>();
      for (const { name, data } of optimizer.exportState())
        arrays.set(name, Float64Array.from(await data()));
      return arrays;
    },
  };
}
