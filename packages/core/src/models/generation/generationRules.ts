import { badSetting, type Settings } from './generationSettings.js';
import type { SequenceBias } from './logitsProcessors.js';

/** Rules on single tokens: see `GenerateOptions`. Every one is off by default. */
export interface GenerationRules {
  readonly minLength: number;
  readonly minNewTokens: number;
  readonly noRepeatNgramSize: number;
  readonly encoderNoRepeatNgramSize: number;
  readonly encoderRepetitionPenalty: number;
  readonly badWordsIds: readonly (readonly number[])[];
  readonly sequenceBias: readonly SequenceBias[];
  readonly suppressTokens: readonly number[];
  readonly beginSuppressTokens: readonly number[];
  readonly forcedBosTokenId: number | null;
  readonly forcedEosTokenIds: readonly number[];
  readonly exponentialDecayLengthPenalty: readonly [number, number] | null;
  readonly removeInvalidValues: boolean;
  readonly renormalizeLogits: boolean;
  readonly topH: number | null;
  readonly typicalP: number;
  readonly epsilonCutoff: number;
  readonly etaCutoff: number;
}

/** @throws GENERATE_OPTION, with where a value came from */
export function rulesOf(
  { values, origin }: Settings,
  vocabSize: number,
  eosTokenIds: readonly number[],
): GenerationRules {
  const { minLength, minNewTokens, noRepeatNgramSize, encoderNoRepeatNgramSize } = values;
  const { encoderRepetitionPenalty, badWordsIds, suppressTokens, beginSuppressTokens } = values;
  const { removeInvalidValues, renormalizeLogits, typicalP, epsilonCutoff, etaCutoff } = values;
  const rules: GenerationRules = {
    ...{ minLength, minNewTokens, noRepeatNgramSize, encoderNoRepeatNgramSize },
    ...{ encoderRepetitionPenalty, badWordsIds, suppressTokens, beginSuppressTokens },
    ...{ removeInvalidValues, renormalizeLogits, typicalP, epsilonCutoff, etaCutoff },
    sequenceBias: values.sequenceBias.map(([ids, bias]) => ({ ids, bias })),
    forcedBosTokenId: values.forcedBosTokenId ?? null,
    forcedEosTokenIds: [values.forcedEosTokenId ?? []].flat(),
    exponentialDecayLengthPenalty: values.exponentialDecayLengthPenalty ?? null,
    topH: values.topH ?? null,
  };
  const check = (name: string, value: unknown, isRight: boolean, expected: string) => {
    if (!isRight) throw badSetting(origin(name), name, value, expected);
  };
  const ids = {
    badWordsIds: rules.badWordsIds.flat(),
    sequenceBias: rules.sequenceBias.flatMap((bias) => bias.ids),
    forcedBosTokenId: rules.forcedBosTokenId === null ? [] : [rules.forcedBosTokenId],
    forcedEosTokenId: rules.forcedEosTokenIds,
  };
  for (const [name, list] of Object.entries(ids)) {
    const wrong = list.find((id) => id < 0 || id >= vocabSize);
    check(name, wrong, wrong === undefined, `token ids below the vocabulary's ${vocabSize}`);
  }
  check(
    'exponentialDecayLengthPenalty',
    rules.exponentialDecayLengthPenalty,
    rules.exponentialDecayLengthPenalty === null || eosTokenIds.length > 0,
    'null while no token ends a row (eosTokenId)',
  );
  return rules;
}
