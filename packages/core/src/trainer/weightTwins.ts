import type { CountingBackend } from '../backend/countingBackend.js';
import type { Module, Parameter } from '../nn/module.js';
import { Storage } from '../tensor/storage.js';
import { Tensor } from '../tensor/tensor.js';

/**
 * Runs `fn` with every weight of a model exchanged for a twin without contents, counted in the place of
 * the weight. What `fn` does to the weights (an optimizer moves them, gives them gradients) happens
 * to the twins; afterwards the model is what it was.
 *
 * @param label the ledger's name for a weight
 */
export function withTwins<T>(
  counter: CountingBackend,
  root: Module,
  label: (tensor: Tensor) => string,
  fn: () => T,
): T {
  const storages = new Map<Storage, Storage>();
  const originals = new Map<Parameter, Tensor>();
  /** Views of one memory stay views of one memory. */
  const twinOf = (tensor: Tensor, name: string): Tensor => {
    const { engine, storage, byteOffset, shape, dtype, requiresGrad } = tensor;
    const known = storages.get(storage);
    const twin =
      known?.retain() ?? new Storage(counter, counter.adopt(storage.buffer.byteLength, name));
    storages.set(storage, twin);
    return new Tensor(engine, twin, byteOffset, shape, dtype, requiresGrad, true);
  };
  try {
    for (const [, parameter] of root.namedParameters()) {
      if (originals.has(parameter)) continue;
      const { tensor } = parameter;
      const twin = twinOf(tensor, label(tensor));
      if (tensor.grad) twin.grad = twinOf(tensor.grad, 'gradients');
      twin.gradIsStale = tensor.gradIsStale;
      originals.set(parameter, parameter.exchange(twin));
    }
    return fn();
  } finally {
    for (const [parameter, original] of originals) {
      parameter.clearGrad();
      parameter.exchange(original).dispose();
    }
  }
}
