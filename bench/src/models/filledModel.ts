import { type Attune, AutoModelForCausalLM, type CausalLM } from '@attune/core';
import { bytesPerElement, encode } from '@attune/core/backend';
import type { RawConfig } from '@attune/core/io';
import type { FromConfigOptions } from '@attune/core/models';
import { LayerNorm, type Module, type Parameter, QuantizedLayer, RMSNorm } from '@attune/core/nn';
import { someValues } from './tinyLm.js';

/** Standard deviation 0.02. A draw for each of 10^9 weights would take minutes: it repeats. */
const PATTERN = someValues(2 ** 20).map((value) => value * 0.07);

/**
 * A model of this config with weights of the usual size, without a file: one pattern that repeats.
 * Speed does not depend on them as long as they are finite.
 */
export async function filledModel(
  config: RawConfig,
  options: { readonly attune: Attune } & Pick<FromConfigOptions, 'dtype' | 'quantization'>,
): Promise<CausalLM> {
  const model = await AutoModelForCausalLM.fromConfig(config, { ...options, initialize: false });
  try {
    fillAll(model.root);
  } catch (error) {
    model.dispose();
    throw error;
  }
  return model;
}

function fillAll(root: Module): void {
  /** Codes of a layer, by its shape: quantising those of each would take minutes too. */
  const codes = new Map<string, unknown>();
  for (const [path, module] of root.namedModules()) {
    if (module instanceof QuantizedLayer) {
      const { inFeatures, outFeatures, weightSize } = module;
      const shape = `${outFeatures} x ${inFeatures}`;
      if (!module.encode) throw new Error(`${path} is of a format that makes no codes.`);
      if (!codes.has(shape)) codes.set(shape, module.encode(repeated(weightSize)));
      module.load(codes.get(shape));
    }
    const isNorm = module instanceof RMSNorm || module instanceof LayerNorm;
    for (const [name, parameter] of module.ownParameters)
      fill(parameter, name === 'bias' ? [0] : isNorm ? [1] : PATTERN);
  }
}

function repeated(size: number): Float32Array {
  const rows = new Float32Array(size);
  for (let at = 0; at < size; at += PATTERN.length)
    rows.set(PATTERN.subarray(0, Math.min(PATTERN.length, size - at)), at);
  return rows;
}

/** A piece at a time, so that the host never has a whole table. */
function fill({ tensor, size }: Parameter, values: ArrayLike<number>): void {
  const { backend } = tensor.engine;
  const width = bytesPerElement[tensor.dtype];
  const piece = Float32Array.from(
    { length: Math.min(size, PATTERN.length) },
    (_, i) => values[i % values.length]!,
  );
  const encoded = encode(piece, tensor.dtype);
  for (let at = 0; at < size; at += encoded.length)
    backend.write(
      tensor.storage.buffer,
      tensor.byteOffset + at * width,
      encoded.subarray(0, Math.min(encoded.length, size - at)),
    );
}
