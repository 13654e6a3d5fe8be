import type { Attune } from '../../attune.js';
import type { DType } from '../../backend/dtype.js';
import type { PluginRegistries } from '../../di/registry.js';
import type { TensorToWrite } from '../../io/safetensorsWriter.js';
import { isLinear, Linear } from '../../nn/linear.js';
import type { Module } from '../../nn/module.js';
import { type DequantizedDType, QuantizedLayer } from '../../nn/quantizedLayer.js';
import type { Engine } from '../../tensor/engine.js';
import type { Tensor } from '../../tensor/tensor.js';
import { AttuneError } from '../../util/errors.js';
import { PythonPattern } from '../../util/pythonRegex/index.js';
import { methodOf, type Quantization } from './parseQuantization.js';
import { QuantizationFormats } from './quantizationFormat.js';

/**
 * Whether an entry of a list of skipped modules leaves a layer out, as transformers'
 * `should_convert_module`: a regular expression of Python for the beginning of its path, whole
 * parts of it; or the end of the path, letter by letter.
 *
 * @param option the list, for the message
 * @throws QUANTIZATION_INVALID
 */
export function skipTest(name: string, option: string): (path: string) => boolean {
  const pattern = skipPattern(name, option);
  return (path) => path.endsWith(name) || pattern.match(path) !== null;
}

const lastNames = (paths: readonly string[]): string[] =>
  [...new Set(paths.map((path) => path.slice(path.lastIndexOf('.') + 1)))].filter((name) =>
    /\D/.test(name),
  );

function skipPattern(name: string, option: string): PythonPattern {
  try {
    return new PythonPattern(`(?:${name})(?:(?<=\\.)|(?=\\.|$))`);
  } catch (cause) {
    throw new AttuneError(
      'QUANTIZATION_INVALID',
      `${option}: ${JSON.stringify(name)} is no name and no regular expression.`,
      {
        remedy: 'Give names of layers, or expressions of Python for the beginning of their paths.',
        cause,
      },
    );
  }
}

/**
 * Puts a {@link QuantizedLayer} in the place of every linear layer but the output head (or those
 * that the format's option leaves out), before anything is loaded: the weights never exist in full
 * precision.
 *
 * @throws QUANTIZATION_INVALID when no layer is left
 */
export function quantizeLayers(
  { engine, logger }: Pick<Attune, 'engine' | 'logger'>,
  root: Module,
  dtype: DType,
  { format, options, isFile }: Quantization,
): void {
  const option: string | undefined = format.skipOption;
  const given = option === undefined ? null : (options[option] as readonly string[] | null);
  const skip = given ?? ['lm_head', 'score'];
  const skips = skip.map((name) => ({ name, fits: skipTest(name, option ?? 'skip') }));
  const isSkipped = (path: string) => skips.some(({ fits }) => fits(path));
  const paths = [...root.namedModules()].map(([path]) => path);
  const stray = skips.filter(({ fits }) => !paths.some(fits)).map(({ name }) => name);
  // A checkpoint lists heads that only other models have.
  if (given && !isFile && stray.length > 0)
    logger.warn(
      `${option} ${JSON.stringify(stray)} match no module, so they leave out none. Names: ${lastNames(paths).join(', ')}.`,
    );
  const layers = [...root.namedModules()].flatMap(([path, module]) =>
    isLinear(module) && !isSkipped(path) ? [{ path, module }] : [],
  );
  if (layers.length === 0)
    throw new AttuneError('QUANTIZATION_INVALID', 'there is no linear layer to quantise.', {
      remedy: `${option ?? format.method} leaves out: ${skip.join(', ')}.`,
    });
  engine.scope('quantised layers', () => {
    const layerOf = format.layers(engine, options);
    for (const { path, module } of layers) {
      const { inFeatures, outFeatures, bias } = module;
      const spec = { path, inFeatures, outFeatures, bias: bias !== null, dtype };
      root.replaceSubmodule(path, layerOf(spec));
      module.dispose();
    }
  });
}

/**
 * Puts a {@link Linear} in the place of every {@link QuantizedLayer}.
 *
 * @param dtype in which the new weights are stored
 * @param weights what they are [out, in], where not what the codes stand for; taken over
 */
export function dequantizeLayers(
  engine: Engine,
  root: Module,
  dtype: DequantizedDType,
  weights: ReadonlyMap<QuantizedLayer, Tensor>,
): void {
  for (const [path, layer] of quantizedLayers(root)) {
    const { inFeatures, outFeatures, bias } = layer;
    const linear = engine.noGrad(() =>
      engine.scope('dequantize', () => {
        const options = { inFeatures, outFeatures, bias: bias !== null };
        const made = new Linear(engine, { ...options, dtype });
        made.weight.replace(weights.get(layer) ?? layer.dequantize(dtype));
        if (bias) made.bias!.replace(bias.tensor.mul(1).cast(bias.dtype));
        return made;
      }),
    );
    for (const parameter of linear.ownParameters.values()) parameter.trainable = true;
    root.replaceSubmodule(path, linear);
    layer.dispose();
  }
}

export const quantizedLayers = (root: Module): Map<string, QuantizedLayer> =>
  new Map(
    [...root.namedModules()].flatMap(([path, module]) =>
      module instanceof QuantizedLayer ? [[path, module] as const] : [],
    ),
  );

/**
 * The weights of quantised layers as their format writes them.
 *
 * @param raw config.json, which names the format
 * @throws QUANTIZATION_NOT_WRITTEN where it has no way to
 */
export function quantizedToWrite(
  registries: PluginRegistries,
  root: Module,
  raw: Readonly<Record<string, unknown>>,
): TensorToWrite[] {
  const layers = [...quantizedLayers(root)];
  if (layers.length === 0) return [];
  const config = (raw.quantization_config ?? {}) as Readonly<Record<string, unknown>>;
  const format = registries.registry(QuantizationFormats).get(String(methodOf(config)));
  return layers.flatMap(([path, layer]) => {
    if (format.write) return format.write(path, layer);
    throw new AttuneError(
      'QUANTIZATION_NOT_WRITTEN',
      `savePretrained: ${layers.length} layers are held in ${layer.precision}; "${format.method}" is read, and not written.`,
      { remedy: 'Call model.dequantize() first: the weights are saved in full precision, then.' },
    );
  });
}
