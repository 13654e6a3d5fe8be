import type { z } from 'zod';
import { type ExtensionPoint, extensionPoint } from '../../di/extensionPoint.js';
import type { TensorToWrite } from '../../io/safetensorsWriter.js';
import type { WeightFolder } from '../../io/weights.js';
import type { QuantizedLayer, QuantizedLayerSpec } from '../../nn/quantizedLayer.js';
import type { Engine } from '../../tensor/engine.js';

/** Options of a format that a plugin brings: its own stand beside its name. */
export interface PluginQuantization {
  /** The name of the format: `quant_method` in config.json. */
  readonly quantMethod: string;
}

/** What a quantised layer loads. */
export type WeightOf<Layer> = Layer extends QuantizedLayer<infer Weight> ? Weight : never;

/**
 * A way to hold the weights of linear layers in few bits, as `quantization_config` in config.json
 * and the option `quantization` find it by name. A plugin adds one with
 * `context.add(QuantizationFormats, defineQuantizationFormat({ ... }))`; that of bitsandbytes comes
 * in the same way. What its layers do is in their class, a {@link QuantizedLayer}.
 */
export interface QuantizationFormat<
  Options = Readonly<Record<string, unknown>>,
  Layer extends QuantizedLayer = QuantizedLayer,
> {
  /** `quant_method` in config.json. */
  readonly method: string;
  /**
   * Checks and completes the other keys, camelCase: a z.strictObject. A key that changes numbers
   * and is not implemented is a literal of its harmless value.
   */
  readonly options: z.ZodObject;
  /**
   * The option that lists layers to leave as they are, by the rule of transformers: ends of their
   * paths, or regular expressions of Python for the beginning. Default: none; the output head is
   * left as it is, as where the list is null.
   */
  readonly skipOption?: string & keyof Options;
  /**
   * What the schema cannot say.
   *
   * @param where the options stand, for the message
   * @throws QUANTIZATION_INVALID
   */
  check?(options: Options, where: string): void;
  /**
   * What makes the layers of one model, their contents undefined until loaded. Tensors that are
   * made here end when all layers are: layers hold on to what they share with `engine.alias`.
   *
   * @throws QUANTIZATION_INVALID for a layer that the format cannot hold, by its path
   */
  layers(engine: Engine, options: Options): (spec: QuantizedLayerSpec) => Layer;
  /** The tensor of a layer's codes in files, behind its path: "qweight". Default "weight". */
  readonly codes?: string;
  /** Names of a layer's other tensors in files, behind its path, but for `bias`. */
  readonly tensors: RegExp;
  /**
   * What a layer loads, where a checkpoint has it quantised.
   *
   * @param path of the layer, with which the names of its tensors begin
   * @returns null: the checkpoint has the weight in floats. The layer encodes them, then.
   * @throws WEIGHTS_SHAPE, WEIGHTS_QUANTIZED_AS when the file is not what config.json says
   */
  read(weights: WeightFolder, path: string, layer: Layer): Promise<WeightOf<Layer> | null>;
  /** What `read` reads. Absent: models are not saved in this format. */
  write?(path: string, layer: Layer): TensorToWrite[];
}

/** Types a format where it is written: its functions get what the schema gives, and its layers. */
export const defineQuantizationFormat = <S extends z.ZodObject, Layer extends QuantizedLayer>(
  definition: QuantizationFormat<z.output<S>, Layer> & { readonly options: S },
): QuantizationFormat => definition as unknown as QuantizationFormat;

/**
 * Formats of quantised weights, by `quant_method`:
 * `context.add(QuantizationFormats, defineQuantizationFormat({ ... }))`.
 */
export const QuantizationFormats: ExtensionPoint<QuantizationFormat> = extensionPoint(
  'quantisation format',
  (format) => format.method,
);
