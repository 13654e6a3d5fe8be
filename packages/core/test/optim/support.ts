import { createAttune, type Engine, silentLogger, type Tensor } from '@attune/core';
import type { ReferenceBackend } from '@attune/core/backend';
import { Module, type Parameter } from '@attune/core/nn';
import type { NamedParameter } from '@attune/core/training';

export { fixtureJson } from '../models/support.js';

export const referenceEngine = async (): Promise<Engine> =>
  (await createAttune({ backend: 'reference', logger: silentLogger })).engine;

/** A tensor with float64 values, as the reference backend can hold them. */
export function precise(
  engine: Engine,
  values: readonly number[],
  shape: readonly number[],
): Tensor {
  const tensor = engine.zeros(shape);
  (engine.backend as ReferenceBackend).poke(tensor.operand, values);
  return tensor;
}

/** The float64 values of a tensor. */
export const peek = (tensor: Tensor): number[] => [
  ...(tensor.engine.backend as ReferenceBackend).peek(tensor.operand),
];

/** A module that is nothing but parameters. */
export class Bag extends Module {
  add(name: string, tensor: Tensor, trainable = true): Parameter {
    const parameter = this.addParameter(name, tensor);
    parameter.trainable = trainable;
    return parameter;
  }

  get named(): NamedParameter[] {
    return [...this.namedParameters()].map(([name, parameter]) => ({ name, parameter }));
  }
}

/** What backward would do: writes a gradient into a parameter. */
export function setGrad(parameter: Parameter, values: readonly number[]): void {
  const { tensor } = parameter;
  (tensor.engine.backend as ReferenceBackend).poke(tensor.grad!.operand, values);
  tensor.gradIsStale = false;
}

interface Fixed {
  readonly data: readonly (number | string)[];
  readonly shape: readonly number[];
}

/** A fixture's tensor as numbers; "NaN" and "Infinity" are strings there. */
export const numbers = (value: Fixed | number | string): number[] =>
  typeof value === 'object' ? value.data.map(Number) : [Number(value)];
