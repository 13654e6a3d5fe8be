import type { ChoiceRules } from '../../tensor/ops/chooseTokens.js';
import { applyMinP, applyTemperature, applyTopK, applyTopP } from '../../tensor/sampling.js';
import * as by from './logitsProcessors.js';
import { applyLogSoftmax, applyRepetitionPenalty } from './penalties.js';
import type { GenerationPlan } from './planGeneration.js';
import { applyEpsilonCutoff, applyEtaCutoff, applyTopH, applyTypicalP } from './truncation.js';

/**
 * What a plan does to scores before a token is chosen of them, in the order of transformers'
 * `_get_logits_processor`. Empty: the likeliest token of the model is taken as it is.
 */
export function processorsOf(plan: GenerationPlan): by.LogitsProcessor[] {
  const { doSample, rules } = plan;
  const eos = [...plan.eosTokenIds].filter((id) => id >= 0);
  const list: by.LogitsProcessor[] = [];
  const add = (when: unknown, processor: () => by.LogitsProcessor) => {
    if (when) list.push(processor());
  };
  const isWord = ({ ids }: by.SequenceBias) => !(ids.length === 1 && eos.includes(ids[0]!));
  const badWords = rules.badWordsIds.map((ids) => ({ ids, bias: Number.NEGATIVE_INFINITY }));

  add(rules.sequenceBias.length, () => by.biasSequences(rules.sequenceBias));
  add(rules.encoderRepetitionPenalty !== 1, () => (scores, { prompt }) => {
    applyRepetitionPenalty(scores, prompt, 1 / rules.encoderRepetitionPenalty);
  });
  add(plan.repetitionPenalty !== 1, () => (scores, { ids }) => {
    applyRepetitionPenalty(scores, ids, plan.repetitionPenalty);
  });
  add(rules.noRepeatNgramSize, () => by.noRepeatNgrams(rules.noRepeatNgramSize));
  add(rules.encoderNoRepeatNgramSize, () => by.noNgramsOfPrompt(rules.encoderNoRepeatNgramSize));
  add(badWords.length, () => by.biasSequences(badWords.filter(isWord)));
  add(rules.minLength && eos.length, () => by.endNotBefore(rules.minLength, eos));
  add(rules.minNewTokens && eos.length, () => by.endNotBeforeNew(rules.minNewTokens, eos));
  const { forcedBosTokenId: forced } = rules;
  if (forced !== null) list.push(by.forceFirst(forced));
  add(rules.forcedEosTokenIds.length, () =>
    by.forceLast(rules.forcedEosTokenIds, plan.maxNewTokens),
  );
  add(rules.removeInvalidValues, () => by.removeInvalid);
  const { exponentialDecayLengthPenalty: decay } = rules;
  if (decay !== null) list.push(by.likelierEnd(decay[0], decay[1], eos));
  add(rules.suppressTokens.length, () => by.suppress(rules.suppressTokens));
  add(rules.beginSuppressTokens.length, () =>
    by.suppressAtStart(rules.beginSuppressTokens, forced !== null),
  );
  if (doSample) {
    const warp = (when: boolean, apply: (scores: Float64Array) => void) => add(when, () => apply);
    warp(plan.temperature !== 1, (scores) => applyTemperature(scores, plan.temperature));
    warp(rules.topH !== null, (scores) => applyTopH(scores, rules.topH!));
    warp(plan.topK > 0, (scores) => applyTopK(scores, plan.topK));
    warp(plan.topP < 1, (scores) => applyTopP(scores, plan.topP));
    warp(plan.minP > 0, (scores) => applyMinP(scores, plan.minP));
    warp(rules.typicalP < 1, (scores) => applyTypicalP(scores, rules.typicalP));
    const { epsilonCutoff, etaCutoff } = rules;
    warp(epsilonCutoff > 0, (scores) => applyEpsilonCutoff(scores, epsilonCutoff));
    warp(etaCutoff > 0, (scores) => applyEtaCutoff(scores, etaCutoff));
  }
  add(rules.renormalizeLogits, () => applyLogSoftmax);
  return list;
}

/** How the device chooses tokens by a plan; null where the plan has rules for the host. */
export function choiceOf(plan: GenerationPlan): ChoiceRules | null {
  const { doSample, temperature, topK, topP, minP, seed } = plan;
  const others = processorsOf({ ...plan, temperature: 1, topK: 0, topP: 1, minP: 0 });
  return others.length > 0 ? null : { doSample, temperature, topK, topP, minP, seed };
}
