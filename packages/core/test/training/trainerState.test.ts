import { TrainerState } from '@attune/core';
import { trainingArgumentsSchema } from '@attune/core/training';
import { expect, test } from 'vitest';

test('the log comes back from trainer_state.json under the names that it had', () => {
  const state = new TrainerState();
  state.logHistory = [
    {
      step: 1,
      epoch: 1,
      rewardStd: 0.5,
      'clip_ratio/low_mean': 0.25,
      'rewards/isShort/mean': 1,
      'eval_rewards/margins': 2,
    },
  ];
  const json = JSON.parse(state.toJson(trainingArgumentsSchema.parse({}) as never, {}));
  expect(Object.keys(json.log_history[0])).toEqual([
    'clip_ratio/low_mean',
    'epoch',
    'eval_rewards/margins',
    'reward_std',
    'rewards/isShort/mean',
    'step',
  ]);
  const again = new TrainerState();
  again.load(json);
  expect(again.logHistory).toEqual(state.logHistory);
});
