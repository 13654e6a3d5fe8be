import { join } from '#platform';
import type { Attune } from '../../attune.js';
import type { DType } from '../../backend/dtype.js';
import { type RawConfig, readHfConfig } from '../../io/hfConfig.js';
import { hubOptions, MODEL_FILES, requireName, resolveFolder } from '../../io/hub.js';
import { WeightFolder } from '../../io/weights.js';
import type { CausalDecoder } from '../../nn/decoder.js';
import { fillNormal, initWeights, writeValues } from '../../nn/init.js';
import { AttuneError } from '../../util/errors.js';
import type { OptionsOutput } from '../../util/options.js';
import type { DecoderModel } from '../decoderModel.js';
import type { ModelFamily } from '../families/family.js';
import { warnOfAbsentSettings } from '../generation/generationSettings.js';
import { type HeadDefinition, type NewHeadOptions, newHeadOptions } from '../heads/head.js';
import { buildWithHead } from '../heads/tiedHead.js';
import type { ModelConfig } from '../languageModel.js';
import { parseQuantization, type Quantization } from '../quantization/parseQuantization.js';
import { QuantizationFormats } from '../quantization/quantizationFormat.js';
import { quantizeLayers } from '../quantization/quantizeLayers.js';
import { parseLoadOptions, refuseAdapterFolder } from './checkLoading.js';
import {
  configOptions,
  type FromConfigOptions,
  type FromPretrainedOptions,
  pretrainedOptions,
} from './loadOptions.js';
import { loadWeights } from './loadWeights.js';
import { checkConfig, familyOf, modelConfig, storageDType } from './readConfig.js';

/** Models with one head, of every family that is registered. */
export interface AutoModel<Model, Options extends object> {
  /**
   * Loads a model in Hugging Face's layout: config.json, model.safetensors (or shards with their
   * index), generation_config.json. Every parameter is trainable until an adapter freezes it. A
   * head that the files do not have starts anew.
   *
   * @param nameOrPath a folder on this machine, or a Hub id ("owner/name"), which is fetched once
   *   into Hugging Face's cache
   * @throws UNKNOWN_OPTION, LOAD_OPTION, MODEL_NAME, ATTUNE_NEEDED, ATTUNE_DISPOSED,
   *   ADAPTER_NOT_MODEL, MODEL_FOLDER_MISSING, HUB_NOT_FOUND, HUB_ACCESS, HUB_UNREACHABLE,
   *   CONFIG_INVALID, UNKNOWN_NAME (model_type), CHECKPOINT_QUANTIZED, QUANTIZATION_INVALID,
   *   WEIGHTS_MISSING, WEIGHTS_MISMATCH (missing and unexpected tensors), WEIGHTS_SHAPE,
   *   DTYPE_OVERFLOW
   */
  fromPretrained(nameOrPath: string, options: FromPretrainedOptions & Options): Promise<Model>;
  /**
   * A new model with random weights, for training from scratch: N(0, initializer_range²), norms 1.
   *
   * @param config as in a config.json, with its `model_type`
   * @throws CONFIG_INVALID, UNKNOWN_NAME (model_type), CHECKPOINT_QUANTIZED, QUANTIZATION_INVALID,
   *   QUANTIZATION_READ_ONLY
   */
  fromConfig(config: RawConfig, options: FromConfigOptions & Options): Promise<Model>;
}

/**
 * The loader of all models, for one head.
 *
 * @example const AutoModelForRanking = autoModel(defineHead({ name: 'ranker', ... }));
 */
export const autoModel = <Model extends DecoderModel, Options extends object>(
  head: HeadDefinition<Model, Options>,
): AutoModel<Model, Options> => ({
  fromPretrained: (nameOrPath, options) => fromPretrained(head, nameOrPath, options),
  fromConfig: (config, options) => fromConfig(head, config, options),
});

async function fromPretrained<Model extends DecoderModel, Options extends object>(
  head: HeadDefinition<Model, Options>,
  nameOrPath: string,
  options: FromPretrainedOptions & NewHeadOptions & Options,
): Promise<Model> {
  requireName(nameOrPath, 'fromPretrained');
  const { ownTensors = [], keepsOutputLayer } = head;
  const schema = pretrainedOptions.extend({
    ...(ownTensors.length > 0 && newHeadOptions.shape),
    ...head.options?.shape,
    ...hubOptions.shape,
  });
  const parsed = parseLoadOptions(schema, options, 'fromPretrained');
  const { attune, offload, ignoreUnexpected } = parsed;
  const { seed = 0 } = options;
  const { logger } = attune;
  const folder = await resolveFolder(nameOrPath, MODEL_FILES, options);
  await refuseAdapterFolder(folder);
  const files = await readHfConfig(folder);
  const where = join(folder, 'config.json');
  const family = familyOf(attune, files.config, where);
  refuseTowers(head, family, where);
  const given = head.configure?.(files.config, options, where) ?? files.config;
  await using opened = await WeightFolder.open(folder);
  const weights = family.nameInModel ? opened.renamed(family.nameInModel) : opened;
  const formats = attune.registry(QuantizationFormats);
  const quantization =
    parseQuantization(formats, given.quantization_config, where, true) ??
    parseQuantization(formats, options.quantization, 'quantization');
  checkConfig(family, given, weights, where, quantization);
  const dtype = storageDType(parsed.dtype, given, weights);
  if (quantization && offload)
    throw new AttuneError(
      'OPTION_CONFLICT',
      'fromPretrained: weights that are quantised stay on the device; offload would do nothing for them.',
      { remedy: 'Leave out offload, or quantization.' },
    );
  const build = (raw: RawConfig) =>
    family.build(attune.engine, raw, { dtype, outputHead: keepsOutputLayer });
  const {
    root: decoder,
    raw,
    aliases,
  } = keepsOutputLayer
    ? await buildWithHead(weights, given, dtype, build, logger)
    : { root: build(given), raw: given, aliases: new Map<string, string>() };
  const config = modelConfig(family, raw, files, where);
  if (keepsOutputLayer) warnOfAbsentSettings(config.generation ?? null, logger);
  let root = decoder;
  try {
    root = assemble(attune, head, decoder, { config, dtype, quantization });
    const missing = await loadWeights(attune.engine, root, weights, {
      logger,
      offload: offload !== null,
      config,
      ignored: [...family.ignoredWeights, ...(keepsOutputLayer ? [] : [/^lm_head\.weight$/])],
      ignoreUnexpected,
      optional: new Set(ownTensors),
      aliases,
      format: quantization?.format ?? null,
    });
    initialize(head, root, missing, { std: deviation(raw), seed });
    for (const name of missing)
      logger.info(`${name} is not in ${folder}: it starts anew, and needs training`);
  } catch (error) {
    root.dispose();
    throw error;
  }
  const made = { config, dtype, quantization, nameOrPath, folder };
  return finish(attune, head, root, made, () => build(raw));
}

async function fromConfig<Model extends DecoderModel, Options extends object>(
  head: HeadDefinition<Model, Options>,
  config: RawConfig,
  options: FromConfigOptions & Options,
): Promise<Model> {
  const schema = configOptions.extend({ ...head.options?.shape });
  const parsed: OptionsOutput<typeof configOptions> = parseLoadOptions(
    schema as typeof configOptions,
    options,
    'fromConfig',
  );
  const { attune, seed, dtype } = parsed;
  const family = familyOf(attune, config, 'config');
  refuseTowers(head, family, 'config');
  const raw = head.configure?.(config, options, 'config') ?? config;
  const facts = modelConfig(family, raw, null, 'config');
  const formats = attune.registry(QuantizationFormats);
  const quantization = parseQuantization(formats, options.quantization, 'quantization');
  const outputHead = head.keepsOutputLayer;
  const build = () => family.build(attune.engine, raw, { dtype, outputHead });
  const decoder = build();
  let root = decoder;
  try {
    root = assemble(attune, head, decoder, { config: facts, dtype, quantization });
    if (parsed.initialize) {
      const std = deviation(raw);
      initWeights(root, { std, seed });
      if (head.initialize) initialize(head, root, head.ownTensors ?? [], { std, seed });
    }
  } catch (error) {
    root.dispose();
    throw error;
  }
  const source = { nameOrPath: '', folder: null };
  return finish(attune, head, root, { config: facts, dtype, quantization, ...source }, build);
}

/** Most models with towers have a causal language model alone in transformers. */
function refuseTowers(
  { name, withOtherTowers = false }: Pick<HeadDefinition, 'name' | 'withOtherTowers'>,
  { modelType, nameInModel }: ModelFamily,
  where: string,
): void {
  if (!nameInModel || withOtherTowers) return;
  throw new AttuneError(
    'CONFIG_INVALID',
    `${where}: a "${modelType}" has other towers beside its text model, and makes no ${name}.`,
    {
      remedy:
        'Load it with AutoModelForCausalLM, save it (the text model alone is written), and load that folder.',
    },
  );
}

interface Made {
  readonly config: ModelConfig;
  readonly dtype: DType;
  readonly quantization: Quantization | null;
}

/** The decoder, quantised if asked for, and its head, which never is. */
function assemble(
  attune: Attune,
  head: Pick<HeadDefinition, 'attach'>,
  decoder: CausalDecoder,
  { config, dtype, quantization }: Made,
): CausalDecoder {
  if (quantization) quantizeLayers(attune, decoder, dtype, quantization);
  return head.attach?.(decoder, { engine: attune.engine, config, dtype }) ?? decoder;
}

function initialize(
  head: Pick<HeadDefinition, 'initialize'>,
  root: CausalDecoder,
  names: readonly string[],
  options: { readonly std: number; readonly seed: number },
): void {
  const parameters = new Map(root.namedParameters());
  for (const name of names) {
    const parameter = parameters.get(name)!;
    if (head.initialize) head.initialize(name, parameter, options);
    else if (name.endsWith('bias')) writeValues(parameter.tensor, new Float32Array(parameter.size));
    else fillNormal(parameter, options);
  }
}

const deviation = (raw: RawConfig): number =>
  typeof raw.initializer_range === 'number' ? raw.initializer_range : 0.02;

interface Finished extends Made {
  readonly nameOrPath: string;
  readonly folder: string | null;
}

/** @param build makes the decoder again, before it is quantised and has its head */
function finish<Model extends DecoderModel>(
  attune: Attune,
  head: Pick<HeadDefinition<Model>, 'create' | 'attach'>,
  root: CausalDecoder,
  { quantization, config, ...source }: Finished,
  build: () => CausalDecoder,
): Model {
  for (const [, parameter] of root.namedParameters()) parameter.trainable = true;
  const described = quantization
    ? { ...config, raw: { ...config.raw, quantization_config: quantization.raw } }
    : config;
  const rebuild = (now: ModelConfig): Model => {
    const isQuantized = now.raw.quantization_config !== undefined; // until it was dequantised
    const made = { ...source, config: now, quantization: isQuantized ? quantization : null };
    return finish(attune, head, assemble(attune, head, build(), made), made, build);
  };
  return head.create({ ...source, attune, root, config: described, rebuild });
}
