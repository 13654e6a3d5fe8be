import type { z } from 'zod';
import type { Engine } from '../tensor/engine.js';
import type { Optimizer } from './optimizer.js';
import type { ParameterGroup } from './parameterGroups.js';

/** What an optimizer may take from the arguments of training, beside `optimArgs`. */
export interface OptimizerSettings {
  readonly learningRate: number;
  readonly adamBeta1: number;
  readonly adamBeta2: number;
  readonly adamEpsilon: number;
}

/**
 * An optimizer as `optim` finds it by name. A plugin adds one with
 * `context.add(Optimizers, defineOptimizer({ ... }))`; the built-in ones come in the same way.
 */
export interface OptimizerDefinition<Options = Readonly<Record<string, unknown>>> {
  /** What `optim` calls it. */
  readonly name: string;
  /** Checks and completes `optimArgs`, camelCase: a z.strictObject. */
  readonly options: z.ZodObject;
  create(
    engine: Engine,
    groups: readonly ParameterGroup[],
    settings: OptimizerSettings,
    options: Options,
  ): Optimizer;
}

/** Types an optimizer where it is written: `options` of `create` are what the schema gives. */
export const defineOptimizer = <S extends z.ZodObject>(
  definition: OptimizerDefinition<z.output<S>> & { readonly options: S },
): OptimizerDefinition => definition as unknown as OptimizerDefinition;
