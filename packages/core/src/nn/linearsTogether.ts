import { sameShape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { isLinear, Linear } from './linear.js';
import type { Module } from './module.js';

/**
 * The weights of layers that read one input, for products that are made at once; null where they
 * are not. They are where nothing is trained, the layers are plain (an adapter is not), of one
 * shape and storage, without bias, and a weight is within a binding.
 */
export function weightsTogether(layers: readonly Module[]): Tensor[] | null {
  const plain = layers.filter(isLinear);
  const isPlain = ({ forward, bias }: Linear) => forward === Linear.prototype.forward && !bias;
  if (plain.length < layers.length || !plain.every(isPlain)) return null;
  const weights = plain.map(({ weight }) => weight.tensor);
  const [{ engine, shape, dtype, size }] = weights as [Tensor];
  const areAlike = weights.every((w) => w.dtype === dtype && sameShape(w.shape, shape));
  return !engine.gradEnabled && areAlike && 4 * size <= engine.bindingBytes ? weights : null;
}
