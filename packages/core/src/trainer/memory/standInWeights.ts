import type { CountingBackend } from '../../backend/countingBackend.js';
import type { HostArray } from '../../backend/dtype.js';
import type { Module, Parameter } from '../../nn/module.js';
import { isLayerWeight } from '../../nn/offload.js';
import { Storage } from '../../tensor/storage.js';
import { Tensor } from '../../tensor/tensor.js';

interface TwinOptions {
  /** The ledger's name for a weight. */
  readonly label: (tensor: Tensor) => string;
  /** As if the frozen weights of the layers had been loaded into host memory. Default false. */
  readonly offload?: boolean;
}

/**
 * Host memory that is only counted: nobody reads its values while a counting backend is the device.
 */
export const sizeOnly = (byteLength: number): HostArray => ({ byteLength }) as unknown as HostArray;

/**
 * Runs `fn` with every weight of a model exchanged for a twin without contents, counted in the
 * place of the weight. What `fn` does to the weights (an optimizer moves them, gives them
 * gradients) happens to the twins; afterwards the model is what it was.
 */
export function withStandIns<T>(
  counter: CountingBackend,
  root: Module,
  { label, offload = false }: TwinOptions,
  fn: () => T,
): T {
  const storages = new Map<Storage, Storage>();
  const restores = new Map<Parameter, () => void>();
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
    for (const [name, parameter] of root.namedParameters()) {
      if (restores.has(parameter)) continue;
      if (parameter.isOffloaded) {
        restores.set(parameter, parameter.exchange(null));
        continue;
      }
      const { tensor } = parameter;
      if (offload && !parameter.trainable && isLayerWeight(name, parameter)) {
        counter.omit(tensor.storage.buffer.byteLength);
        const { engine, byteLength, shape, dtype } = tensor;
        const never = new Storage(counter, () => counter.alloc(byteLength, dtype));
        restores.set(
          parameter,
          parameter.exchange(new Tensor(engine, never, 0, shape, dtype, false, true)),
        );
        parameter.offload(sizeOnly(byteLength));
        continue;
      }
      const twin = twinOf(tensor, label(tensor));
      if (tensor.grad) twin.grad = twinOf(tensor.grad, 'gradients');
      twin.gradIsStale = tensor.gradIsStale;
      restores.set(parameter, parameter.exchange(twin));
    }
    return fn();
  } finally {
    for (const restore of restores.values()) restore();
  }
}
