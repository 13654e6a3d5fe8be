import { join } from '#platform';
import type { Attune } from '../../attune.js';
import { bytesPerElement, type DType, isFloat, parseDType } from '../../backend/dtype.js';
import { type HfConfig, type RawConfig, readHfConfig } from '../../io/hfConfig.js';
import {
  type HubOptions,
  hubOptionNames,
  MODEL_FILES,
  requireName,
  resolveFolder,
} from '../../io/hub.js';
import { WeightFolder } from '../../io/weights.js';
import type { CausalDecoder } from '../../nn/decoder.js';
import { initWeights } from '../../nn/init.js';
import { AttuneError } from '../../util/errors.js';
import { isPlainObject } from '../../util/json.js';
import { CausalLM } from '../causalLm.js';
import { type ModelFacts, ModelFamilies, type ModelFamily } from '../families/family.js';
import { isNestedType, nestedFamily, textTypeOf } from '../families/nestedFamily.js';
import { warnOfAbsentSettings } from '../generation/generationSettings.js';
import { buildWithHead } from '../heads/tiedHead.js';
import type { ModelConfig } from '../languageModel.js';
import { checkLoadOptions, refuseAdapterFolder, requireAttune } from './checkLoading.js';
import { checkSizes, sizesInWords } from './checkSizes.js';
import { loadWeights } from './loadWeights.js';
import { parseQuantization, type QuantizationConfig, quantizeLayers } from './quantization.js';

export interface FromPretrainedOptions extends HubOptions {
  /** The device, and the plugins that may know the family. */
  readonly attune: Attune;
  /** Storage of the weights. Default "auto": as in the checkpoint (config.json's `dtype`). */
  readonly dtype?: DType | 'auto';
  /**
   * Hold the weights of linear layers in 4 or 8 bits (frozen; train an adapter on them), quantised while they
   * are read: the model never is in memory in full precision. Default: as the checkpoint is stored.
   */
  readonly quantization?: QuantizationConfig;
  /** Accept tensors in the checkpoint that the model has no place for. Default false: an error. */
  readonly ignoreUnexpected?: boolean;
  /**
   * 'weights': the weights of the layers stay in host memory and are uploaded when their layer is
   * computed, so that a model larger than the device's memory works, slower. For training freeze them
   * (peftConfig) and set gradientCheckpointing. Default null: everything is on the device.
   */
  readonly offload?: 'weights' | null;
}

export interface FromConfigOptions {
  /** The device, and the plugins that may know the family. */
  readonly attune: Attune;
  /** Same seed, same weights. Default 0. */
  readonly seed?: number;
  /** Storage of the weights. Default "float32". */
  readonly dtype?: DType;
  /** Hold the weights of linear layers in 4 or 8 bits, as for `fromPretrained`. Default: in full precision. */
  readonly quantization?: QuantizationConfig;
  /** false: the weights stay as they are, undefined; for a model that is only looked at. Default true. */
  readonly initialize?: boolean;
}

/** Causal language models of every family that is registered, by `model_type` of their config.json. */
export const AutoModelForCausalLM = {
  /**
   * Loads a model in Hugging Face's layout: config.json, model.safetensors (or shards with their
   * index), generation_config.json. Every parameter is trainable until an adapter freezes it.
   *
   * @param nameOrPath a folder on this machine, or a Hub id ("owner/name"), which is fetched once into
   * Hugging Face's cache
   * @throws MODEL_NAME, ATTUNE_NEEDED, ATTUNE_DISPOSED, ADAPTER_NOT_MODEL, MODEL_FOLDER_MISSING, HUB_NOT_FOUND, HUB_ACCESS, HUB_UNREACHABLE, CONFIG_INVALID,
   * UNKNOWN_NAME (model_type), WEIGHTS_MISSING, WEIGHTS_MISMATCH (missing and unexpected tensors),
   * WEIGHTS_SHAPE, DTYPE_OVERFLOW
   */
  async fromPretrained(nameOrPath: string, options: FromPretrainedOptions): Promise<CausalLM> {
    requireName(nameOrPath, 'fromPretrained');
    checkLoadOptions(
      options,
      ['attune', 'dtype', 'ignoreUnexpected', 'quantization', 'offload', ...hubOptionNames],
      'fromPretrained',
    );
    requireAttune(options.attune, 'fromPretrained');
    const { offload = null } = options;
    if (offload !== null && offload !== 'weights')
      throw new AttuneError('OPTION_UNKNOWN', `fromPretrained: offload is "${offload}".`, {
        remedy: 'Set it to "weights", or leave it out.',
      });
    const { attune } = options;
    const folder = await resolveFolder(nameOrPath, MODEL_FILES, options);
    await refuseAdapterFolder(folder);
    const files = await readHfConfig(folder);
    const { config: read } = files;
    const where = join(folder, 'config.json');
    const family = familyOf(attune, read, where);
    await using opened = await WeightFolder.open(folder);
    const weights = family.nameInModel ? opened.renamed(family.nameInModel) : opened;
    checkConfig(family, read, weights, where);
    const dtype = storageDType(options.dtype ?? 'auto', read, weights);
    const quantization =
      parseQuantization(read.quantization_config, where, true) ??
      parseQuantization(options.quantization, 'quantization');
    if (quantization && offload)
      throw new AttuneError(
        'OPTION_CONFLICT',
        'fromPretrained: weights that are quantised stay on the device; offload would do nothing for them.',
        { remedy: 'Leave out offload, or quantization.' },
      );
    const build = (raw: RawConfig) => family.build(attune.engine, raw, { dtype });
    const { root, raw, aliases } = await buildWithHead(weights, read, dtype, build, attune.logger);
    const config = modelConfig(family, raw, files, where);
    warnOfAbsentSettings(config.generation ?? null, attune.logger);
    try {
      if (quantization) quantizeLayers(attune, root, dtype, quantization);
      await loadWeights(attune.engine, root, weights, {
        logger: attune.logger,
        offload: offload !== null,
        config,
        ignored: family.ignoredWeights,
        ignoreUnexpected: options.ignoreUnexpected ?? false,
        aliases,
      });
    } catch (error) {
      root.dispose();
      throw error;
    }
    const described = quantization
      ? { ...config, raw: { ...raw, quantization_config: quantization.raw } }
      : config;
    return assemble(attune, described, root, dtype, { nameOrPath, folder });
  },

  /**
   * A new model with random weights, for training from scratch: N(0, initializer_range²), norms 1.
   *
   * @param config as in a config.json, with its `model_type`
   * @throws CONFIG_INVALID, UNKNOWN_NAME (model_type)
   */
  async fromConfig(config: RawConfig, options: FromConfigOptions): Promise<CausalLM> {
    checkLoadOptions(
      options,
      ['attune', 'seed', 'dtype', 'quantization', 'initialize'],
      'fromConfig',
    );
    requireAttune(options.attune, 'fromConfig');
    const { attune, seed = 0, dtype = 'float32', initialize = true } = options;
    const family = familyOf(attune, config, 'config');
    const facts = modelConfig(family, config, null, 'config');
    const root = family.build(attune.engine, config, { dtype });
    const quantization = parseQuantization(options.quantization, 'quantization');
    if (quantization) quantizeLayers(attune, root, dtype, quantization);
    const std = config.initializer_range;
    if (initialize) initWeights(root, { std: typeof std === 'number' ? std : 0.02, seed });
    const described = quantization
      ? { ...facts, raw: { ...config, quantization_config: quantization.raw } }
      : facts;
    return assemble(attune, described, root, dtype, { nameOrPath: '', folder: null });
  },
};

function assemble(
  attune: Attune,
  config: ModelConfig,
  root: CausalDecoder,
  dtype: DType,
  source: { readonly nameOrPath: string; readonly folder: string | null },
): CausalLM {
  for (const [, parameter] of root.namedParameters()) parameter.trainable = true;
  return new CausalLM({ attune, config, root, dtype, ...source });
}

export function familyOf(attune: Attune, raw: RawConfig, where: string): ModelFamily {
  if (typeof raw.model_type !== 'string')
    throw new AttuneError('CONFIG_INVALID', `${where} has no "model_type".`, {
      remedy: 'Add it, e.g. "model_type": "llama".',
    });
  const families = attune.registry(ModelFamilies);
  const textType = textTypeOf(raw);
  if (families.has(raw.model_type) || textType === null) return families.get(raw.model_type);
  const { model_type: modelType } = raw;
  const isKnown = families.has(textType);
  if (isNestedType(modelType) && isKnown) return nestedFamily(modelType, families.get(textType));
  throw new AttuneError(
    'UNKNOWN_NAME',
    isNestedType(modelType)
      ? `${where}: the text model of this "${modelType}" (text_config.model_type) is of the family "${textType}", which is not there.`
      : `${where}: there is no model family "${modelType}"; its text model (text_config) is of the family "${textType}", which is ${isKnown ? 'known: a folder with that model alone would load' : 'not there either'}.`,
    {
      remedy: `Families: ${families.names.join(', ')}${isKnown ? '' : '. A plugin can add one: defineModelFamily'}.`,
      details: { modelType, textType },
    },
  );
}

export const modelConfig = (
  family: ModelFamily,
  raw: RawConfig,
  files: HfConfig | null,
  where: string,
): ModelConfig => ({
  modelType: family.modelType,
  ...family.describe(raw, where),
  generation: files?.generationConfig ?? null,
  sources: files?.sources ?? null,
  raw,
});

/** Checks a config by itself, and against the header of its weights. @throws CONFIG_INVALID, WEIGHTS_MISMATCH, WEIGHTS_SHAPE */
export function checkConfig(
  family: ModelFamily,
  raw: RawConfig,
  weights: WeightFolder,
  where: string,
): void {
  let facts: ModelFacts;
  try {
    facts = family.describe(raw, where);
  } catch (error) {
    if (!AttuneError.isInstance(error) || error.code !== 'CONFIG_INVALID') throw error;
    throw new AttuneError(error.code, `${error.description} ${sizesInWords(weights)}`.trim(), {
      ...(error.remedy !== undefined && { remedy: error.remedy }),
      details: error.details,
      cause: error,
    });
  }
  checkSizes(weights, facts, facts.nested?.textConfig ?? raw, where);
}

/** `dtype` of a config, as transformers 4 or 5 writes it, or of the text model in it. */
export function dtypeOf(raw: RawConfig): unknown {
  const text = isPlainObject(raw.text_config) ? raw.text_config : {};
  return raw.dtype ?? raw.torch_dtype ?? text.dtype ?? text.torch_dtype;
}

/** "auto": what config.json says, else the first float tensor's dtype (float64 is read as float32). */
export function storageDType(asked: DType | 'auto', raw: RawConfig, weights: WeightFolder): DType {
  if (asked !== 'auto') {
    if (Object.hasOwn(bytesPerElement, asked) && isFloat(asked)) return asked;
    throw new AttuneError('DTYPE_UNKNOWN', `fromPretrained: dtype "${asked}" stores no weights.`, {
      remedy: 'Use "auto", "float32", "float16" or "bfloat16".',
    });
  }
  const named = dtypeOf(raw);
  const first = () =>
    weights.names.map((n) => weights.info(n).dtype).find((d) => /^(B?F16|F32|F64)$/.test(d));
  const name = typeof named === 'string' ? named : (first() ?? 'float32');
  return /^(torch\.)?(float64|F64)$/.test(name) ? 'float32' : parseDType(name);
}
