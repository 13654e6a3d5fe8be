import { type DeviceBatch, type LanguageModel, sequenceLogProbs, type Tensor } from '@attune/core';
import type { Critic } from './ppoCritic.js';

/** What a policy says of a batch of answers, [B, T] each. */
export interface PolicyView {
  /** log p of the token that follows, 0 where none is asked for. */
  readonly logProbs: Tensor;
  /** What is expected behind each token. */
  readonly values: Tensor;
  /** That of the whole distribution, nats; 0 where no token is asked for. Not differentiable. */
  readonly entropy: Tensor;
}

/** Log-probabilities and values of one pass through the trunk. Records. */
export function policyView(
  model: LanguageModel,
  batch: DeviceBatch,
  critic: Critic,
  temperature: number,
): PolicyView {
  const { inputIds, positions = null, segments = null } = batch;
  return model.engine.scope('policy', () => {
    const hidden = model.hiddenStates({ inputIds: inputIds!, positions, segments });
    const { perToken, statistics } = sequenceLogProbs(withStates(model, hidden), batch, {
      temperature,
      perToken: true,
      statistics: ['entropy'],
    });
    return {
      logProbs: perToken!,
      values: critic.values(batch, hidden),
      entropy: statistics!.entropy!,
    };
  });
}

/** The head of a model behind a pass through its trunk that was made already. */
function withStates(model: LanguageModel, hidden: Tensor): LanguageModel {
  const head: Pick<
    LanguageModel,
    'engine' | 'adapters' | 'config' | 'hiddenStates' | 'head' | 'headWeight' | 'cappedHead'
  > = {
    engine: model.engine,
    adapters: model.adapters,
    config: model.config,
    hiddenStates: () => hidden,
    head: (states) => model.head(states),
    headWeight: () => model.headWeight(),
    cappedHead: () => model.cappedHead?.() ?? null,
  };
  return head as LanguageModel;
}

/** log p of the tokens of answers, [B, T]; 0 where none is asked for. Records. */
export const answerLogProbs = (
  model: LanguageModel,
  batch: DeviceBatch,
  temperature: number,
): Tensor => sequenceLogProbs(model, batch, { temperature, perToken: true }).perToken!;
