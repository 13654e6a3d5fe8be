import type { DType, HostArray } from '../backend/dtype.js';
import type { Module, Parameter } from './module.js';

/**
 * Whether a parameter is a matrix of one of a model's layers: what is worth keeping in host memory,
 * because a layer needs it for a moment only. Embedding and head, which every step reads twice, are
 * not.
 */
export const isLayerWeight = (name: string, parameter: Parameter): boolean =>
  /\.\d+\./.test(name) && parameter.shape.length >= 2;

/**
 * Moves the frozen weights of a model's layers into host memory, and gives what they took on the
 * device back. Each forward pass then uploads a layer's weights when it comes to the layer, and
 * drops them after it; with gradient checkpointing the backward pass does so too. A wait for the
 * device.
 *
 * A model that does not fit as a whole is loaded this way from the start: `fromPretrained(...,
 * { offload: 'weights' })`.
 *
 * @returns bytes moved
 */
export async function offloadWeights(root: Module): Promise<number> {
  let moved = 0;
  const seen = new Set<Parameter>();
  for (const [name, parameter] of root.namedParameters()) {
    if (parameter.trainable || parameter.isOffloaded || !isLayerWeight(name, parameter)) continue;
    if (seen.has(parameter)) continue;
    seen.add(parameter);
    const { buffer } = await parameter.read();
    parameter.offload(words(buffer as ArrayBuffer, parameter.dtype));
    moved += buffer.byteLength;
  }
  const resident = [...root.namedParameters()].find(([, parameter]) => !parameter.isOffloaded);
  await resident?.[1].tensor.engine.backend.trim?.();
  return moved;
}

const words = (bytes: ArrayBuffer, dtype: DType): HostArray => {
  if (dtype === 'float32') return new Float32Array(bytes);
  if (dtype === 'int32') return new Int32Array(bytes);
  return dtype === 'uint32' ? new Uint32Array(bytes) : new Uint16Array(bytes);
};
