import { z } from 'zod';
import type { RawConfig } from '../../io/hfConfig.js';
import { AttuneError } from '../../util/errors.js';
import { isPlainObject } from '../../util/json.js';
import type { OptionsInput } from '../../util/options.js';
import type { ProblemType } from '../languageModel.js';
import { DecoderWithScore } from './classifierHead.js';
import { defineHead, type NewHeadOptions } from './head.js';
import { SequenceClassifier } from './sequenceClassifier.js';

/** A name is made for each. */
const MAX_LABELS = 1_000_000;

/** What a classifier tells apart. */
const labelShape = {
  /**
   * Outputs of `score`: 1 for a number (a reward, a regression). Default: as the config says, else
   * 2.
   */
  numLabels: z.custom<number>().optional().meta({ aka: 'numclasses' }),
  /** Names of the labels, in order. Default: the config's, else LABEL_0, LABEL_1, ... */
  labels: z.custom<readonly string[]>().optional().meta({ aka: 'labelnames' }),
  /** What the labels are. Default: the config's, else regression for 1 label, classes for more. */
  problemType: z.custom<ProblemType>().optional(),
  /**
   * `pad_token_id` of the config, without which transformers scores no rows of different lengths at
   * once. Here a length or a mask says what is padding. Default: the config's.
   */
  padTokenId: z.int().min(0).optional().meta({ aka: 'padid padtoken' }),
};
const labelOptions = z.strictObject(labelShape);

/** How many classes there are, what they are called, and the loss that goes with them. */
export type LabelOptions = OptionsInput<typeof labelShape>;

const problemTypes = ['regression', 'single_label_classification', 'multi_label_classification'];

/**
 * `score` in the place of the layer over the vocabulary, [hidden] -> [numLabels] without a bias:
 * classifiers, and with one label rewards and regressions.
 */
export const classifierHead = defineHead<SequenceClassifier, LabelOptions & NewHeadOptions>({
  name: 'classifier',
  options: labelOptions,
  keepsOutputLayer: false,
  ownTensors: ['score.weight'],
  configure: withLabels,
  attach: (decoder, { engine, config, dtype }) =>
    new DecoderWithScore(engine, decoder, {
      hiddenSize: config.hiddenSize,
      numLabels: labelCount(config.raw),
      dtype,
    }),
  create(parts) {
    const { raw } = parts.config;
    const problemType = (raw.problem_type ?? null) as ProblemType | null;
    return new SequenceClassifier({ ...parts, numLabels: labelCount(raw), problemType });
  },
});

/** How many labels a config has: transformers keeps the number as the size of `id2label`. */
function labelCount(raw: RawConfig): number {
  if (isPlainObject(raw.id2label)) return Object.keys(raw.id2label).length;
  return typeof raw.num_labels === 'number' ? raw.num_labels : 2;
}

/**
 * The config with its labels as transformers writes them.
 *
 * @throws CONFIG_INVALID, LABELS_INVALID
 */
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
  const { padTokenId } = options;
  if (padTokenId !== undefined && padTokenId >= Number(raw.vocab_size))
    throw new AttuneError(
      'LABELS_INVALID',
      `padTokenId is ${padTokenId}, and the model has ${raw.vocab_size} tokens.`,
      { remedy: 'Give the id of its padding token: tokenizer.padTokenId.' },
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
    ...(padTokenId !== undefined && { pad_token_id: padTokenId }),
  };
}

/** "LlamaForCausalLM" -> "LlamaForSequenceClassification": which class Python loads. */
function architecture({ architectures, model_type }: RawConfig): { architectures?: string[] } {
  const first: unknown = Array.isArray(architectures) ? architectures[0] : undefined;
  if (typeof first !== 'string') return {};
  const stem = first.replace(/(For[A-Z]\w+|LMHeadModel|Model)$/, '');
  // Gemma 3 has one class with images and one without.
  const name = model_type === 'gemma3_text' ? 'Gemma3Text' : stem;
  return { architectures: [`${name}ForSequenceClassification`] };
}
