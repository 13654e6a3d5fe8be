import { encode } from '../backend/dtype.js';
import { formatShape } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { AttuneError } from '../util/errors.js';
import { Rng } from '../util/rng.js';
import { Embedding } from './embedding.js';
import type { Module, Parameter } from './module.js';
import { LayerNorm, RMSNorm } from './norm.js';
import { QuantizedLayer } from './quantizedLayer.js';

/** Writes host values into a tensor that exists, rounded to its dtype. @throws SHAPE_MISMATCH */
export function writeValues(tensor: Tensor, values: ArrayLike<number>): void {
  if (values.length !== tensor.size)
    throw new AttuneError(
      'SHAPE_MISMATCH',
      `${values.length} values do not fill a tensor ${formatShape(tensor.shape)} of ${tensor.size}.`,
      { remedy: 'Give as many values as the tensor holds.' },
    );
  tensor.engine.backend.write(
    tensor.storage.buffer,
    tensor.byteOffset,
    encode(values, tensor.dtype),
  );
}

/** How {@link initWeights} draws new weights. */
export interface InitOptions {
  /** Standard deviation of weights and embeddings: config.json's `initializer_range`. */
  readonly std: number;
  readonly seed: number;
}

/**
 * Fills every parameter below `root` as transformers does before pretraining: weights N(0, std²),
 * norms 1 (Gemma's, which are differences from 1: 0), biases and the padding row of an embedding 0.
 * The same seed gives the same model.
 *
 * @throws QUANTIZATION_READ_ONLY for layers of a format that makes no codes
 */
export function initWeights(root: Module, { std, seed }: InitOptions): void {
  const rng = new Rng(seed);
  for (const [path, module] of root.namedModules()) {
    if (module instanceof QuantizedLayer) {
      const rows = Float32Array.from({ length: module.weightSize }, () => std * rng.normal());
      module.quantize(rows, `${path}.weight`);
    }
    const isNorm = module instanceof RMSNorm || module instanceof LayerNorm;
    const gain = module instanceof RMSNorm ? 1 - module.offset : 1;
    for (const [name, parameter] of module.ownParameters) {
      if (name === 'bias') fillWith(parameter, () => 0);
      else if (isNorm) fillWith(parameter, () => gain);
      else if (module instanceof Embedding) fillTable(parameter, module, () => std * rng.normal());
      else fillWith(parameter, () => std * rng.normal());
    }
  }
}

/** N(0, std²). */
export function fillNormal(parameter: Parameter, { std, seed }: InitOptions): void {
  const rng = new Rng(seed);
  fillWith(parameter, () => std * rng.normal());
}

function fillTable(parameter: Parameter, table: Embedding, next: () => number): void {
  const values = Float32Array.from({ length: parameter.size }, next);
  const { paddingIdx, features } = table;
  if (paddingIdx !== null) values.fill(0, paddingIdx * features, (paddingIdx + 1) * features);
  writeValues(parameter.tensor, values);
}

function fillWith(parameter: Parameter, next: () => number): void {
  writeValues(parameter.tensor, Float32Array.from({ length: parameter.size }, next));
}
