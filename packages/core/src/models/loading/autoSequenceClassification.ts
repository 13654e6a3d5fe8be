import { join } from '#platform';
import type { Attune } from '../../attune.js';
import type { DType } from '../../backend/dtype.js';
import { type RawConfig, readHfConfig } from '../../io/hfConfig.js';
import { hubOptionNames, MODEL_FILES, requireName, resolveFolder } from '../../io/hub.js';
import { WeightFolder } from '../../io/weights.js';
import { fillNormal, initWeights } from '../../nn/init.js';
import { AttuneError } from '../../util/errors.js';
import { isPlainObject } from '../../util/json.js';
import type { ModelFamily } from '../families/family.js';
import { DecoderWithScore } from '../heads/classifierHead.js';
import { type ProblemType, SequenceClassifier } from '../heads/sequenceClassifier.js';
import type { ModelConfig } from '../languageModel.js';
import {
  checkConfig,
  type FromConfigOptions,
  type FromPretrainedOptions,
  familyOf,
  modelConfig,
  storageDType,
} from './auto.js';
import { checkLoadOptions, refuseAdapterFolder, requireAttune } from './checkLoading.js';
import { loadWeights } from './loadWeights.js';
import { parseQuantization, type Quantization, quantizeLayers } from './quantization.js';

/** A name is made for each. */
const MAX_LABELS = 1_000_000;

interface LabelOptions {
  /** Outputs of `score`: 1 for a number (a reward, a regression). Default: as the config says, else 2. */
  readonly numLabels?: number;
  /** Names of the labels, in order. Default: the config's, else LABEL_0, LABEL_1, ... */
  readonly labels?: readonly string[];
  /** What the labels are. Default: the config's, else regression for 1 label, classes for more. */
  readonly problemType?: ProblemType;
}

export interface ClassifierFromPretrainedOptions
  extends Omit<FromPretrainedOptions, 'offload'>,
    LabelOptions {
  /** Of a `score` that the checkpoint does not have. Default 0. */
  readonly seed?: number;
}

export interface ClassifierFromConfigOptions
  extends Omit<FromConfigOptions, 'initialize'>,
    LabelOptions {}

const labelOptions = ['numLabels', 'labels', 'problemType'];
const problemTypes = ['regression', 'single_label_classification', 'multi_label_classification'];

/** Sequence classifiers of every family that is registered: a decoder with `score` as its head. */
export const AutoModelForSequenceClassification = {
  /**
   * Loads a classifier, or a causal language model to make one of: `score` then starts as
   * N(0, initializer_range²), and its output layer is left out.
   *
   * @param nameOrPath a folder on this machine, or a Hub id
   * @throws as AutoModelForCausalLM.fromPretrained; WEIGHTS_SHAPE for a `score` of another numLabels
   */
  async fromPretrained(
    nameOrPath: string,
    options: ClassifierFromPretrainedOptions,
  ): Promise<SequenceClassifier> {
    requireName(nameOrPath, 'fromPretrained');
    checkLoadOptions(
      options,
      [
        'attune',
        'dtype',
        'ignoreUnexpected',
        'quantization',
        'seed',
        ...labelOptions,
        ...hubOptionNames,
      ],
      'fromPretrained',
    );
    requireAttune(options.attune, 'fromPretrained');
    const { attune, seed = 0, ignoreUnexpected = false } = options;
    const folder = await resolveFolder(nameOrPath, MODEL_FILES, options);
    await refuseAdapterFolder(folder);
    const files = await readHfConfig(folder);
    const { config: read } = files;
    const where = join(folder, 'config.json');
    const family = familyOf(attune, read, where);
    refuseNested(family, where);
    const raw = withLabels(read, options, where);
    await using weights = await WeightFolder.open(folder);
    checkConfig(family, raw, weights, where);
    const config = modelConfig(family, raw, files, where);
    const dtype = storageDType(options.dtype ?? 'auto', raw, weights);
    const quantization =
      parseQuantization(raw.quantization_config, where, true) ??
      parseQuantization(options.quantization, 'quantization');
    const root = build(attune, family, config, dtype, quantization);
    try {
      const ignored = [...family.ignoredWeights, /^lm_head\.weight$/];
      const optional = new Set(['score.weight']);
      const missing = await loadWeights(attune.engine, root, weights, {
        logger: attune.logger,
        offload: false,
        config,
        ignored,
        ignoreUnexpected,
        optional,
      });
      for (const name of missing) {
        fillNormal(new Map(root.namedParameters()).get(name)!, { std: deviation(raw), seed });
        attune.logger.info(`${name} is not in ${folder}: it starts anew, and needs training`);
      }
    } catch (error) {
      root.dispose();
      throw error;
    }
    return assemble(attune, {
      config: described(config, quantization),
      root,
      dtype,
      nameOrPath,
      folder,
    });
  },

  /** A new classifier with random weights. @param config as in a config.json, with its `model_type` */
  async fromConfig(
    config: RawConfig,
    options: ClassifierFromConfigOptions,
  ): Promise<SequenceClassifier> {
    checkLoadOptions(
      options,
      ['attune', 'seed', 'dtype', 'quantization', ...labelOptions],
      'fromConfig',
    );
    requireAttune(options.attune, 'fromConfig');
    const { attune, seed = 0, dtype = 'float32' } = options;
    const raw = withLabels(config, options, 'config');
    const family = familyOf(attune, raw, 'config');
    refuseNested(family, 'config');
    const facts = modelConfig(family, raw, null, 'config');
    const quantization = parseQuantization(options.quantization, 'quantization');
    const root = build(attune, family, facts, dtype, quantization);
    initWeights(root, { std: deviation(raw), seed });
    return assemble(attune, {
      config: described(facts, quantization),
      root,
      dtype,
      nameOrPath: '',
      folder: null,
    });
  },
};

/** transformers has no such class but for one type. */
function refuseNested({ modelType, nameInModel }: ModelFamily, where: string): void {
  if (nameInModel)
    throw new AttuneError(
      'CONFIG_INVALID',
      `${where}: a "${modelType}" has other towers beside its text model, and makes no classifier.`,
      {
        remedy:
          'Load it with AutoModelForCausalLM, save it (the text model alone is written), and load that folder.',
      },
    );
}

const deviation = (raw: RawConfig): number =>
  typeof raw.initializer_range === 'number' ? raw.initializer_range : 0.02;

/** The decoder without its output layer, quantised if asked for, and `score`, which never is. */
function build(
  attune: Attune,
  family: ModelFamily,
  { raw, hiddenSize }: ModelConfig,
  dtype: DType,
  quantization: Quantization | null,
): DecoderWithScore {
  const decoder = family.build(attune.engine, raw, { dtype, outputHead: false });
  if (quantization) quantizeLayers(attune, decoder, dtype, quantization);
  const numLabels = labelCount(raw);
  return new DecoderWithScore(attune.engine, decoder, { hiddenSize, numLabels, dtype });
}

const described = (config: ModelConfig, quantization: Quantization | null): ModelConfig =>
  quantization
    ? { ...config, raw: { ...config.raw, quantization_config: quantization.raw } }
    : config;

function assemble(
  attune: Attune,
  parts: Omit<
    ConstructorParameters<typeof SequenceClassifier>[0],
    'attune' | 'numLabels' | 'problemType'
  >,
): SequenceClassifier {
  for (const [, parameter] of parts.root.namedParameters()) parameter.trainable = true;
  const { raw } = parts.config;
  const problemType = (raw.problem_type ?? null) as ProblemType | null;
  return new SequenceClassifier({ ...parts, attune, numLabels: labelCount(raw), problemType });
}

/** How many labels a config has: transformers keeps the number as the size of `id2label`. */
function labelCount(raw: RawConfig): number {
  if (isPlainObject(raw.id2label)) return Object.keys(raw.id2label).length;
  return typeof raw.num_labels === 'number' ? raw.num_labels : 2;
}

/** The config with its labels as transformers writes them. @throws CONFIG_INVALID, LABELS_INVALID */
function withLabels(raw: RawConfig, options: LabelOptions, where: string): RawConfig {
  const count = options.numLabels ?? options.labels?.length ?? labelCount(raw);
  if (!Number.isInteger(count) || count < 1 || count > MAX_LABELS)
    throw new AttuneError('LABELS_INVALID', `numLabels is ${String(count)}.`, {
      remedy: `Give a whole number from 1 to ${MAX_LABELS}.`,
    });
  if (options.labels && options.labels.length !== count)
    throw new AttuneError(
      'LABELS_INVALID',
      `numLabels is ${count}, and labels names ${options.labels.length}.`,
      { remedy: 'Give as many names as labels, or the names alone.' },
    );
  const problemType = options.problemType ?? raw.problem_type ?? null;
  if (problemType !== null && !problemTypes.includes(problemType as string))
    throw new AttuneError(
      'CONFIG_INVALID',
      `${where}: problem_type is ${JSON.stringify(problemType)}.`,
      { remedy: `Use one of ${problemTypes.join(', ')}.` },
    );
  const known = isPlainObject(raw.id2label) && labelCount(raw) === count ? raw.id2label : null;
  const names = options.labels ?? known ?? Array.from({ length: count }, (_, i) => `LABEL_${i}`);
  const id2label: Record<string, unknown> = { ...names };
  const { num_labels: _, ...rest } = raw;
  return {
    ...rest,
    ...architecture(raw),
    id2label,
    label2id: Object.fromEntries(
      Object.entries(id2label).map(([id, label]) => [label, Number(id)]),
    ),
    ...(problemType !== null && { problem_type: problemType }),
  };
}

/** "LlamaForCausalLM" -> "LlamaForSequenceClassification": which class Python loads. */
function architecture({ architectures, model_type }: RawConfig): { architectures?: string[] } {
  const first: unknown = Array.isArray(architectures) ? architectures[0] : undefined;
  if (typeof first !== 'string') return {};
  const stem = first.replace(/(For[A-Z]\w+|LMHeadModel|Model)$/, '');
  // Of Gemma 3 there is one class with images and one without.
  const name = model_type === 'gemma3_text' ? 'Gemma3Text' : stem;
  return { architectures: [`${name}ForSequenceClassification`] };
}
