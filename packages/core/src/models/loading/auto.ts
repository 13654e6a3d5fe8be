import { causalLmHead } from '../heads/causalLmHead.js';
import type { NewHeadOptions } from '../heads/head.js';
import { classifierHead, type LabelOptions } from '../heads/scoreHead.js';
import { valueHead } from '../heads/valueHead.js';
import { autoModel } from './autoModel.js';
import type { FromConfigOptions, FromPretrainedOptions } from './loadOptions.js';

/** Options of `AutoModelForSequenceClassification.fromPretrained`. */
export interface ClassifierFromPretrainedOptions
  extends FromPretrainedOptions,
    LabelOptions,
    NewHeadOptions {}

/** Options of `AutoModelForSequenceClassification.fromConfig`. */
export interface ClassifierFromConfigOptions extends FromConfigOptions, LabelOptions {}

/**
 * Loads causal language models of every registered family, by `model_type` of their config.json.
 */
export const AutoModelForCausalLM = autoModel(causalLmHead);

/**
 * Loads sequence classifiers of every registered family: a decoder with `score` as its head.
 * `fromPretrained` takes a classifier, or a causal language model to make one of. Then `score`
 * starts as N(0, initializer_range²), and the output layer is left out. A `score` of another
 * numLabels is refused with WEIGHTS_SHAPE.
 */
export const AutoModelForSequenceClassification = autoModel(classifierHead);

/**
 * Loads causal language models with a value head as TRL has it (`v_head.summary`): `values(input)`
 * gives [B, T]. A checkpoint without the head gets a new one, which starts as N(0,
 * initializer_range²) with bias 0.
 */
export const AutoModelForCausalLMWithValueHead = autoModel(valueHead);
