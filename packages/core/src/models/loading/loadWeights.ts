import { type DType, encode, type HostArray, isFloat, widen } from '../../backend/dtype.js';
import { hasNonFinite } from '../../io/nonFinite.js';
import { type HostTensorData, type Room, sharedRoom } from '../../io/safetensors.js';
import type { WeightFolder } from '../../io/weights.js';
import type { Module } from '../../nn/module.js';
import { isLayerWeight } from '../../nn/offload.js';
import type { QuantizedLayer } from '../../nn/quantizedLayer.js';
import type { Engine } from '../../tensor/engine.js';
import { AttuneError, nearest } from '../../util/errors.js';
import type { Logger } from '../../util/logger.js';
import type { ModelConfig } from '../languageModel.js';
import type { QuantizationFormat } from '../quantization/quantizationFormat.js';
import { quantizedLayers } from '../quantization/quantizeLayers.js';

export interface LoadWeightsOptions {
  readonly config: ModelConfig;
  /** Names in the checkpoint that are no mistake. */
  readonly ignored: readonly RegExp[];
  readonly ignoreUnexpected: boolean;
  /** Weights of layers go into host memory. */
  readonly offload: boolean;
  readonly logger: Pick<Logger, 'warn'>;
  /** Names of the model that the checkpoint need not have. Default: none. */
  readonly optional?: ReadonlySet<string>;
  /** Names of the model -> other names in the checkpoint. Default: none. */
  readonly aliases?: ReadonlyMap<string, string>;
  /** How quantised layers are held. Null: there are none. */
  readonly format: QuantizationFormat | null;
}

/**
 * Uploads are let through in portions, so that staging memory does not grow to the size of the
 * model.
 */
const portionBytes = 64 * 2 ** 20;

/**
 * Fills every parameter of a model, one tensor in host memory at a time, converting dtypes.
 *
 * @returns names of optional parameters that the checkpoint does not have: left as they were
 * @throws WEIGHTS_MISMATCH, WEIGHTS_SHAPE, DTYPE_OVERFLOW; of quantised layers what their format
 *   throws
 */
export async function loadWeights(
  engine: Engine,
  root: Module,
  weights: WeightFolder,
  options: LoadWeightsOptions,
): Promise<string[]> {
  const parameters = new Map(root.namedParameters());
  const absent = [...(options.optional ?? [])].filter((name) => !weights.has(name));
  for (const name of absent) parameters.delete(name);
  const { format } = options;
  const quantized = format ? quantizedLayers(root) : new Map<string, QuantizedLayer>();
  const codes = (path: string) => `${path}.${format?.codes ?? 'weight'}`;
  const weightNames = [...quantized.keys()].map((path) =>
    weights.has(codes(path)) ? codes(path) : `${path}.weight`,
  );
  const stored = new Map([
    ...storedNames([...parameters.keys(), ...weightNames], weights),
    ...(options.aliases ?? []),
  ]);
  checkNames(stored, weights, {
    ...options,
    isPart: (name) => format !== null && isPartOf(quantized, format, name),
  });
  let pending = 0;
  const admit = async () => {
    if (pending < portionBytes) return;
    await engine.backend.sync();
    pending = 0;
  };
  const broken: string[] = [];
  const rooms = { file: sharedRoom(), floats: sharedRoom() };
  for (const [path, layer] of quantized) {
    const held = await format!.read(weights, path, layer);
    if (held !== null) layer.load(held);
    else await quantizeFloats(weights, stored.get(`${path}.weight`) ?? codes(path), layer, rooms);
    pending += layer.weightSize;
    await admit();
  }
  for (const [name, parameter] of parameters) {
    const inFile = stored.get(name)!;
    const stays = options.offload && isLayerWeight(name, parameter);
    const room = stays ? undefined : rooms.file;
    const found = await weights.get(inFile, parameter.shape, configKeys(name), room);
    if (hasNonFinite(found.data, found.dtype)) broken.push(inFile);
    const data = convert(found, parameter.dtype, weights.file(inFile).path);
    if (stays) {
      parameter.offload(data);
      continue;
    }
    parameter.write(data);
    pending += data.byteLength;
    await admit();
  }
  await engine.backend.sync();
  if (broken.length > 0)
    options.logger.warn(
      `${weights.folder}: ${broken.length === 1 ? 'a tensor is' : `${broken.length} tensors are`} not finite (NaN or infinity): ${some(broken)}. What the model computes will not be either.`,
    );
  return absent;
}

/** Memory of the host that all weights use, one after the other. */
interface Rooms {
  readonly file: Room;
  readonly floats: Room;
}

/** One weight at a time is in float32, so that the model never is. */
async function quantizeFloats(
  weights: WeightFolder,
  name: string,
  layer: QuantizedLayer,
  rooms: Rooms,
): Promise<void> {
  const shape = [layer.outFeatures, layer.inFeatures];
  const found = await weights.get(name, shape, configKeys(name), rooms.file);
  const { data, dtype } = found;
  if (layer.encodeStored && (dtype === 'float16' || dtype === 'bfloat16')) {
    layer.load(layer.encodeStored(data as Uint16Array, dtype));
    return;
  }
  const { path } = weights.file(name);
  const rows = convert(found, 'float32', path, rooms.floats(4 * layer.weightSize));
  layer.quantize(rows as Float32Array, name);
}

/** Whether a tensor belongs to a quantised layer, beside its weight and its bias. */
function isPartOf(
  layers: ReadonlyMap<string, QuantizedLayer>,
  { tensors }: QuantizationFormat,
  name: string,
): boolean {
  for (let dot = name.lastIndexOf('.'); dot > 0; dot = name.lastIndexOf('.', dot - 1))
    if (layers.has(name.slice(0, dot))) return name.slice(dot + 1).search(tensors) >= 0;
  return false;
}

/**
 * Names of the model -> names in the checkpoint. The same, but where it was saved without a head:
 * then the first part is missing ("h.0.ln_1.weight" for "transformer.h.0.ln_1.weight"), as in the
 * hub's gpt2.
 */
export function storedNames(names: Iterable<string>, weights: WeightFolder): Map<string, string> {
  const withoutFirst = (name: string) => name.slice(name.indexOf('.') + 1);
  return new Map(
    [...names].map((name) => {
      const short = withoutFirst(name);
      return [name, !weights.has(name) && weights.has(short) ? short : name];
    }),
  );
}

function checkNames(
  stored: ReadonlyMap<string, string>,
  weights: WeightFolder,
  {
    config,
    ignored,
    ignoreUnexpected,
    isPart,
  }: LoadWeightsOptions & { readonly isPart: (name: string) => boolean },
): void {
  const missing = [...stored].filter(([, inFile]) => !weights.has(inFile)).map(([name]) => name);
  const known = new Set(stored.values());
  // A tied head that was saved all the same is the embedding once more.
  const isExpected = (name: string) =>
    known.has(name) ||
    (config.tieWordEmbeddings && name === 'lm_head.weight') ||
    ignored.some((pattern) => pattern.test(name)) ||
    isPart(name);
  const unexpected = ignoreUnexpected ? [] : weights.names.filter((name) => !isExpected(name));
  if (missing.length === 0 && unexpected.length === 0) return;
  const parts = [
    missing.length && `${missing.length} tensors are missing (${some(missing)})`,
    unexpected.length && `${unexpected.length} have no place in the model (${some(unexpected)})`,
  ].filter(Boolean);
  throw new AttuneError('WEIGHTS_MISMATCH', `${weights.folder}: ${parts.join('; ')}.`, {
    remedy: remedyFor(missing, unexpected, config),
    details: { missing, unexpected },
  });
}

const some = (names: readonly string[]): string =>
  names
    .slice(0, 3)
    .map((n) => `"${n}"`)
    .join(', ') + (names.length > 3 ? ', ...' : '');

function remedyFor(
  missing: readonly string[],
  unexpected: readonly string[],
  config: ModelConfig,
): string {
  if (missing.length === 1 && missing[0] === 'lm_head.weight')
    return 'The checkpoint has no output layer: set "tie_word_embeddings": true in config.json if it shares the embedding.';
  const near = missing[0] && nearest(missing[0], unexpected);
  if (near)
    return `Is "${near}" what "${missing[0]}" should be? Names must be as transformers writes them.`;
  if (missing.length === 0)
    return `Is this a "${config.modelType}" model? Pass ignoreUnexpected: true to leave these tensors out.`;
  return `Compare num_hidden_layers (${config.numHiddenLayers}) and model_type ("${config.modelType}") in config.json with the checkpoint.`;
}

/** The keys of config.json that decide the shape of a tensor, for messages. */
function configKeys(name: string): readonly string[] {
  if (/embed_tokens|lm_head/.test(name)) return ['vocab_size', 'hidden_size'];
  if (/[qo]_proj/.test(name)) return ['num_attention_heads', 'head_dim', 'hidden_size'];
  if (/[kv]_proj/.test(name)) return ['num_key_value_heads', 'head_dim', 'hidden_size'];
  if (/mlp/.test(name)) return ['intermediate_size', 'hidden_size'];
  return ['hidden_size'];
}

/** The first finite number that float16 rounds to infinity; -1 where there is none. */
function aboveFloat16(values: ArrayLike<number>): number {
  for (let i = 0; i < values.length; i++) {
    const magnitude = Math.abs(values[i]!);
    if (magnitude >= 65520 && magnitude < Number.POSITIVE_INFINITY) return i;
  }
  return -1;
}

/**
 * @param into memory that float32 numbers may take. Default: new memory
 * @throws DTYPE_OVERFLOW where float16 cannot hold a value: infinity would be another model
 */
export function convert(
  found: HostTensorData,
  dtype: DType,
  path: string,
  into?: ArrayBuffer,
): HostArray {
  if (found.dtype === dtype) return found.data;
  if (!isFloat(found.dtype))
    throw new AttuneError(
      'WEIGHTS_DTYPE',
      `${path}: tensor "${found.name}" holds ${found.dtype}, expected floats.`,
      {
        remedy:
          'config.json lacks the quantization_config of this checkpoint, or names another format than that of its weights.',
      },
    );
  const values =
    found.dtype === 'float16' || found.dtype === 'bfloat16'
      ? widen(found.data as Uint16Array, found.dtype, into)
      : (found.data as Float32Array);
  if (dtype === 'float16') {
    const at = aboveFloat16(values);
    if (at >= 0)
      throw new AttuneError(
        'DTYPE_OVERFLOW',
        `${path}: tensor "${found.name}" holds ${values[at]} at element ${at}; float16 ends at 65504.`,
        { remedy: 'Load with dtype "bfloat16" or "float32".' },
      );
  }
  return encode(values, dtype);
}
