import type { PPOTrainer, PpoStep, PpoTrainerOptions, RolloutOutput } from '@attune/align';
import { AttuneError } from '@attune/core';
import {
  AutoModelForCausalLMWithValueHead,
  AutoModelForSequenceClassification,
} from '@attune/core/models';
import { describe, expect, test } from 'vitest';
import { type Changes, config, high, open, policyOf, prompts, trainer } from './ppo.support.js';

// What may be wrong with a PPO run is named, with option, row and value.

const named = (name: string, fn: unknown): Changes => ({
  rewardFuncs: Object.defineProperty(fn as never, 'name', { value: name }),
});

async function refusal(changes: Changes | Promise<Changes>, run = true): Promise<string> {
  try {
    const ppo = await trainer(await changes);
    if (run) await ppo.train();
  } catch (error) {
    expect(error).toBeInstanceOf(AttuneError);
    return String(error);
  }
  return 'nothing was thrown';
}

async function first(ppo: PPOTrainer): Promise<PpoStep> {
  for await (const step of ppo.steps()) return step;
  throw new Error('there was no group');
}

describe('rewards', () => {
  const wrong: [what: string, changes: Changes, message: RegExp][] = [
    ['none', { rewardFuncs: undefined }, /TRAINER_OPTION.*no reward is given/],
    ['a text', { rewardFuncs: 'happy' as never }, /TRAINER_OPTION.*a reward is string/],
    [
      'that throws',
      named('broken', () => {
        throw new Error('no such file');
      }),
      /REWARD_FAILED.*"broken" threw: no such file/,
    ],
    [
      'that never returns',
      { ...named('slow', () => new Promise(() => {})), args: { rewardTimeout: 0.05 } },
      /REWARD_FAILED.*"slow" has not returned after 0\.05 s/,
    ],
    [
      'NaN',
      named('rate', () => [1, Number.NaN, 1, 1, 1, 1, 1, 1]),
      /REWARD_VALUE.*"rate" gave NaN for completion 1/,
    ],
    ['too few', named('rate', () => [1, 2]), /gave 2 rewards for 8 completions/],
    ['weights of another number', { args: { rewardWeights: [1, 2] } }, /2 entries for 1/],
    ['no opinion on anything', named('silent', () => Array(8).fill(null)), /NO_UPDATES/],
  ];
  test.each(wrong)('%s', async (_, changes, message) => {
    expect(await refusal(changes)).toMatch(message);
  });

  test('answers of which no function has an opinion are left out of an update', async () => {
    const rate = named('some', ({ completionIds }: { completionIds: readonly unknown[] }) =>
      completionIds.map((_, n) => (n % 2 === 0 ? null : 1)),
    );
    const ppo = await trainer({ ...rate, args: { maxSteps: 4, loggingSteps: 1 } });
    await ppo.train();
    expect(ppo.state.globalStep).toBe(4);
    expect(ppo.state.logHistory[0]!['objective/scores']).toBe(1);
  });

  test('a reward model with two scores, of another vocabulary, of another Attune', async () => {
    const attune = await open();
    const policy = await policyOf(attune);
    const judge = (more: object, other = attune) =>
      AutoModelForSequenceClassification.fromConfig(
        { ...config, ...more },
        { attune: other, numLabels: 'vocab_size' in more ? 1 : 2 },
      );
    const tokenizer = { encode: () => [3], decode: () => '' } as never;
    const changes = { policy, tokenizer, peftConfig: undefined, reference: policy };
    expect(await refusal({ ...changes, reward: await judge({}) })).toMatch(
      /REWARD_MODEL.*2 scores/,
    );
    expect(await refusal({ ...changes, reward: await judge({ vocab_size: 19 }) })).toMatch(
      /REWARD_TOKENIZER.*vocabulary of 19/,
    );
    expect(
      await refusal({ ...changes, reward: await judge({ vocab_size: 17 }, await open()) }),
    ).toMatch(/REWARD_MODEL.*another Attune/);
  });
});

describe('sizes and coefficients', () => {
  const wrong: [args: object, message: RegExp][] = [
    [{ miniBatchSize: 3 }, /miniBatchSize is 3, and batchSize 8 is no multiple of it/],
    [{ miniBatchSize: null, numMiniBatches: 3 }, /numMiniBatches is 3, and batchSize 8/],
    [{ numMiniBatches: 2 }, /miniBatchSize and numMiniBatches are both given/],
    [{ perDeviceTrainBatchSize: 3 }, /perDeviceTrainBatchSize is 3, and the mini-batches/],
    [{ gradientAccumulationSteps: 4, perDeviceTrainBatchSize: 4 }, /batchSize is 8, and .* is 16/],
    [{ totalEpisodes: 64 }, /totalEpisodes and maxSteps are both given/],
    [{ autoFindBatchSize: true }, /autoFindBatchSize is on/],
    [{ maxNewTokens: 32 }, /maxNewTokens is 32, and the model allows 32 tokens/],
    [{ maxNewTokens: 0 }, /maxNewTokens is 0:/],
    [{ klCoef: 0.1, initKlCoef: 0.2 }, /klCoef is 0\.1, and initKlCoef is 0\.2/],
    [{ klCoef: 0, adapKlCtrl: true }, /klCoef is 0 and adapKlCtrl is on/],
    [{ klCoef: -0.1 }, /klCoef is -0\.1:/],
    [{ klEstimator: 'k2' }, /klEstimator is "k2":/],
    [{ temperature: 0 }, /temperature is 0:/],
    [{ cliprange: 0 }, /cliprange is 0:/],
    [{ lam: 1.5 }, /lam is 1\.5:/],
    [{ gamma: -1 }, /gamma is -1:/],
    [{ targetKl: 0 }, /targetKl is 0:/],
    [{ missingEosPenalty: -1 }, /missingEosPenalty is -1:/],
    [{ stopToken: 'stop' }, /stopToken is "stop":/],
    [{ numPpoEpochs: 4 }, /UNKNOWN_OPTION.*ppoEpochs/s],
    [{ response_length: 4 }, /UNKNOWN_OPTION.*maxNewTokens/s],
  ];
  test.each(wrong)('%o', async (args, message) => {
    expect(await refusal({ args }, false)).toMatch(message);
  });
});

describe('models', () => {
  const wrong: [what: string, changes: () => Promise<Changes>, message: RegExp][] = [
    ['no policy', async () => ({ policy: undefined }), /TRAINER_OPTION.*model/],
    [
      'a policy by both names',
      async () => {
        const policy = await policyOf(await open());
        return { policy, model: policy };
      },
      /policy and model are both given/,
    ],
    [
      'prompts by both names',
      async () => ({ trainDataset: prompts, prompts }),
      /prompts and trainDataset/,
    ],
    [
      'a classifier as policy',
      async () => ({
        policy: await AutoModelForSequenceClassification.fromConfig(config, {
          attune: await open(),
        }),
      }),
      /GENERATE_OPTION.*SEQ_CLS/,
    ],
    [
      'a frozen policy',
      async () => {
        const policy = await policyOf(await open());
        for (const [, parameter] of policy.root.namedParameters()) parameter.trainable = false;
        return { policy, reference: policy, peftConfig: undefined };
      },
      /NO_TRAINABLE.*only its critic would learn/,
    ],
    [
      'a frozen value head',
      async () => {
        const policy = await AutoModelForCausalLMWithValueHead.fromConfig(config, {
          attune: await open(),
        });
        for (const [path, parameter] of policy.root.namedParameters())
          if (path.startsWith('v_head')) parameter.trainable = false;
        return { policy, peftConfig: undefined };
      },
      /VALUE_HEAD.*is frozen/,
    ],
    [
      'a policy as its own critic',
      async () => {
        const policy = await policyOf(await open());
        return { policy, valueModel: policy };
      },
      /VALUE_MODEL.*is the policy itself/,
    ],
    [
      'a critic of another Attune',
      async () => ({ valueModel: await policyOf(await open()) }),
      /VALUE_MODEL.*another Attune/,
    ],
    [
      'a critic that gives no value',
      async () => {
        const attune = await open();
        return { policy: await policyOf(attune), valueModel: await policyOf(attune) };
      },
      /VALUE_MODEL.*no value for a token/,
    ],
    [
      'no adapters to switch off',
      async () => ({ peftConfig: undefined, reference: 'base' }),
      /REFERENCE.*no adapters/,
    ],
  ];
  test.each(wrong)('%s', async (_, changes, message) => {
    expect(await refusal(changes(), false)).toMatch(message);
  });
});

describe('prompts and rollouts', () => {
  const answers = (given: unknown): Changes => ({ rollout: () => given as RolloutOutput });
  const wrong: [what: string, changes: Changes, message: RegExp][] = [
    ['rows without a prompt', { trainDataset: [{ question: 'x' }] }, /ROW_FORMAT.*"prompt"/],
    ['text without a tokenizer', { trainDataset: [{ prompt: 'x' }] }, /TOKENIZER_MISSING/],
    ['a token that is none', { trainDataset: [{ input_ids: [3, 99] }] }, /99/],
    [
      'prompts that leave no room for an answer',
      { trainDataset: [{ input_ids: Array(30).fill(3) }] },
      /longer than 26 tokens|NO_ROWS|no row/i,
    ],
    ['a rollout that is none', { rollout: 5 as never }, /TRAINER_OPTION.*rollout is no function/],
    ['a rollout of nothing', answers(undefined), /ROLLOUT_OUTPUT.*no list completionIds/],
    ['too few answers', answers({ completionIds: [[3]] }), /gave 1 completions where 8/],
    [
      'an empty answer',
      answers({ completionIds: Array(8).fill([]) }),
      /no tokens for completion 0/,
    ],
    [
      'an answer that is too long',
      answers({ completionIds: Array(8).fill([3, 3, 3, 3, 3, 3, 3]) }),
      /gave 7 tokens for completion 0; maxCompletionLength is 6/,
    ],
    ['a token outside', answers({ completionIds: Array(8).fill([99]) }), /gave the token 99/],
    [
      'a rollout that throws',
      {
        rollout: () => {
          throw new Error('server is down');
        },
      },
      /ROLLOUT_FAILED.*server is down/,
    ],
  ];
  test.each(wrong)('%s', async (_, changes, message) => {
    expect(await refusal(changes)).toMatch(message);
  });

  test('what stands behind the end of an answer is no part of it', async () => {
    const rollout: PpoTrainerOptions['rollout'] = () => ({
      completionIds: Array(8).fill([5, 2, 7, 7]),
    });
    const ppo = await trainer({ rollout, rewardFuncs: high, args: { maxSteps: 4 } });
    const stats = await first(ppo);
    expect(stats['objective/scores']).toBe(0.5); // of [5, 2]
    expect(stats['val/num_eos_tokens']).toBe(8);
  });

  test('a missing end costs the penalty', async () => {
    const rollout: PpoTrainerOptions['rollout'] = () => ({
      completionIds: [...Array(4).fill([5, 2]), ...Array(4).fill([5, 6])],
    });
    const ppo = await trainer({ rollout, args: { maxSteps: 4, missingEosPenalty: 2 } });
    const stats = await first(ppo);
    expect(stats['objective/scores']).toBeCloseTo((4 * 0.5 + 4 * (1 - 2)) / 8, 12);
  });

  test('stopToken null: answers go on past the end token', async () => {
    const ppo = await trainer({
      args: { stopToken: null, maxSteps: 4, batchSize: 32, miniBatchSize: 16 },
    });
    expect((await first(ppo))['completions/mean_length']).toBe(6);
  });
});
