import { numTokens } from '@attune/core/text';
import { type OptionsInput, z } from '@attune/core/util';
import { answerPreflightSetting } from './answerPreflight.js';
import { TOKENIZATIONS } from './splitAnswers.js';

/** What a sequence loses that is longer than `maxLength`: its end, or its beginning. */
export const TRUNCATION_MODES = ['keep_start', 'keep_end'] as const;
export type TruncationMode = (typeof TRUNCATION_MODES)[number];

/** What rows of prompts and answers share. */
export const answerRowShape = {
  /**
   * Tokens of a prompt with an answer beyond which it is cut off; Infinity: never. Each sequence is
   * cut by itself. A row whose prompt alone has as many is left out.
   */
  maxLength: numTokens.meta({ aka: 'maxseqlength' }),
  /**
   * What is cut off: 'keep_start' the end of an answer, 'keep_end' the beginning of the prompt,
   * which leaves no row out and is deprecated in TRL. Default 'keep_start'.
   */
  truncationMode: z.enum(TRUNCATION_MODES).default('keep_start').meta({ aka: 'truncation' }),
  /**
   * Where BOS, EOS and the end of a prompt are: 'dpo' as TRL's DPO, KTO and Reward, 'cpo' as its
   * experimental CPO and ORPO. Default 'dpo'.
   */
  tokenization: z.enum(TOKENIZATIONS).default('dpo'),
  /** What is shown and refused before the first step. Default 'on'. */
  preflight: answerPreflightSetting.default('on'),
};

export type AnswerRowOptions = OptionsInput<typeof answerRowShape>;
