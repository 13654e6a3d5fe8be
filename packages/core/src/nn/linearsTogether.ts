import type { Engine } from '../tensor/engine.js';
import { sameShape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { isLinear, Linear } from './linear.js';
import type { Module } from './module.js';

/**
 * The weights of layers that read one input, for products that are made at once; null where they
 * are not. They are where nothing is trained, the layers are plain (an adapter is not), of one
 * shape and storage, without bias, and a weight is within a binding.
 */
export function weightsTogether(
  engine: Pick<Engine, 'gradEnabled' | 'bindingBytes'>,
  module: Pick<Module, 'child'>,
  names: readonly string[],
): Tensor[] | null {
  if (engine.gradEnabled) return null; // before anything else: each layer of a step asks
  const layers = names.map((name) => module.child(name));
  const plain = layers.filter(isLinear);
  const isPlain = ({ forward, bias }: Linear) => forward === Linear.prototype.forward && !bias;
  if (plain.length < layers.length || !plain.every(isPlain)) return null;
  const weights = plain.map(({ weight }) => weight.tensor);
  const [{ shape, dtype, size }] = weights as [Tensor];
  const areAlike = weights.every((w) => w.dtype === dtype && sameShape(w.shape, shape));
  return areAlike && 4 * size <= engine.bindingBytes ? weights : null;
}
