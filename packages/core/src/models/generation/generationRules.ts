import { badSetting, kinds, type Settings } from './generationSettings.js';
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
  settings: Settings,
  vocabSize: number,
  eosTokenIds: readonly number[],
): GenerationRules {
  const { get, origin } = settings;
  const rules: GenerationRules = {
    minLength: get('minLength', kinds.count, 0),
    minNewTokens: get('minNewTokens', kinds.count, 0),
    noRepeatNgramSize: get('noRepeatNgramSize', kinds.count, 0),
    encoderNoRepeatNgramSize: get('encoderNoRepeatNgramSize', kinds.count, 0),
    encoderRepetitionPenalty: get('encoderRepetitionPenalty', kinds.number, 1),
    badWordsIds: get('badWordsIds', kinds.idLists, []),
    sequenceBias: get('sequenceBias', kinds.biases, []).map(([ids, bias]) => ({ ids, bias })),
    suppressTokens: get('suppressTokens', kinds.idList, []),
    beginSuppressTokens: get('beginSuppressTokens', kinds.idList, []),
    forcedBosTokenId: get('forcedBosTokenId', kinds.id, null),
    forcedEosTokenIds: [get('forcedEosTokenId', kinds.ids, [])].flat(),
    exponentialDecayLengthPenalty: get('exponentialDecayLengthPenalty', kinds.decay, null),
    removeInvalidValues: get('removeInvalidValues', kinds.flag, false),
    renormalizeLogits: get('renormalizeLogits', kinds.flag, false),
    topH: get('topH', kinds.number, null),
    typicalP: get('typicalP', kinds.number, 1),
    epsilonCutoff: get('epsilonCutoff', kinds.number, 0),
    etaCutoff: get('etaCutoff', kinds.number, 0),
  };
  const check = (name: string, value: unknown, isRight: boolean, expected: string) => {
    if (!isRight) throw badSetting(origin(name), name, value, expected);
  };
  const { topH, typicalP, epsilonCutoff, etaCutoff, encoderRepetitionPenalty } = rules;
  check('topH', topH, topH === null || (topH > 0 && topH <= 1), 'a number above 0, up to 1');
  check('typicalP', typicalP, typicalP > 0, 'a number above 0 (1: all)');
  for (const [name, value] of Object.entries({ epsilonCutoff, etaCutoff }))
    check(name, value, value >= 0 && value < 1, 'a number from 0 to below 1');
  check(
    'encoderRepetitionPenalty',
    encoderRepetitionPenalty,
    encoderRepetitionPenalty > 0,
    'a number above 0 (1: none)',
  );
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
