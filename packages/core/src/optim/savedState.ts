import { formatShape, numel } from '../tensor/shape.js';
import { AttuneError } from '../util/errors.js';
import type { StateArray } from './arenaOptimizer.js';

/** What a checkpoint has of an array. @throws OPTIMIZER_STATE */
export function checkedState<T extends Float32Array | Uint8Array>(
  { name, dtype, shape }: Pick<StateArray, 'name' | 'dtype' | 'shape'>,
  saved: T | undefined,
): T {
  if (saved?.length === numel(shape) && saved instanceof Uint8Array === (dtype === 'U8'))
    return saved;
  throw new AttuneError(
    'OPTIMIZER_STATE',
    `the saved optimizer state has ${saved ? `${saved.length} numbers` : 'nothing'} for "${name}"; expected ${dtype} ${formatShape(shape)}.`,
    { remedy: 'Resume with the model, peftConfig, optim and freezing of the saved run.' },
  );
}

/** Bytes as uint32 words, as devices are written, the last one filled with zeros. */
export function asWords(bytes: Float32Array | Uint8Array): Float32Array | Uint32Array {
  if (bytes instanceof Float32Array) return bytes;
  const whole = new Uint8Array(Math.ceil(bytes.length / 4) * 4);
  whole.set(bytes);
  return new Uint32Array(whole.buffer);
}
