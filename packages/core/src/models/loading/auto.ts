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
 * Causal language models of every family that is registered, by `model_type` of their config.json.
 */
export const AutoModelForCausalLM = autoModel(causalLmHead);

/**
 * Sequence classifiers of every family that is registered: a decoder with `score` as its head.
 * `fromPretrained` loads a classifier, or a causal language model to make one of: `score` then
 * starts as N(0, initializer_range²), and the output layer is left out. WEIGHTS_SHAPE for a `score`
 * of another numLabels.
 */
export const AutoModelForSequenceClassification = autoModel(classifierHead);

/**
 * Causal language models with a value head as TRL has it (`v_head.summary`): `values(input)`, [B,
 * T]. A checkpoint without the head gets a new one, which starts as N(0, initializer_range²) with
 * bias 0.
 */
export const AutoModelForCausalLMWithValueHead = autoModel(valueHead);
