import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  GRPOTrainer,
  type GrpoTrainerOptions,
  type RewardFunction,
  RLOOTrainer,
  type RlooTrainerOptions,
  type RolloutOutput,
} from '@attune/align';
import { type Attune, AutoModelForCausalLM, createAttune, silentLogger } from '@attune/core';
import { AutoModelForSequenceClassification } from '@attune/core/models';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

// What may be wrong with rewards, rollouts, prompts and sizes is named, with function, row, value.

const config = {
  model_type: 'llama',
  vocab_size: 17,
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  max_position_embeddings: 32,
  rms_norm_eps: 1e-5,
  eos_token_id: 2,
  tie_word_embeddings: false,
};

let attune: Attune;
let model: GrpoTrainerOptions['model'];
beforeAll(async () => {
  attune = await createAttune({ backend: 'reference', logger: silentLogger });
  model = await AutoModelForCausalLM.fromConfig(config, { attune, seed: 0 });
});
afterAll(() => attune.dispose());

const one: RewardFunction = ({ completions }) => completions.map((_, n) => n % 2);
const rows = [[3, 4], [5], [6, 7, 8], [9]].map((input_ids) => ({ input_ids }));
type Changes = Partial<Omit<GrpoTrainerOptions, 'args'>> & { args?: object };

async function trainer({ args, ...changes }: Changes = {}): Promise<GRPOTrainer> {
  return new GRPOTrainer({
    model,
    trainDataset: rows,
    rewardFuncs: one,
    args: {
      outputDir: await mkdtemp(join(tmpdir(), 'attune-policy-')),
      perDeviceTrainBatchSize: 4,
      numGenerations: 2,
      maxCompletionLength: 4,
      maxSteps: 1,
      saveStrategy: 'no',
      ...args,
    },
    ...changes,
  } as GrpoTrainerOptions);
}
const run = async (changes: Changes = {}) => (await trainer(changes)).train();
const message = async (promise: Promise<unknown>): Promise<string> => {
  try {
    await promise;
  } catch (error) {
    return String(error);
  }
  return 'nothing was thrown';
};

describe('a reward function', () => {
  const named = (name: string, fn: RewardFunction): Changes => ({
    rewardFuncs: Object.defineProperty(fn, 'name', { value: name }),
  });

  test('that throws is named', async () => {
    const broken = named('broken', () => {
      throw new Error('no such file');
    });
    expect(await message(run(broken))).toMatch(/REWARD_FAILED.*"broken" threw: no such file/);
  });

  test('that rejects is named', async () => {
    const broken = named('remote', async () => Promise.reject(new Error('503')));
    expect(await message(run(broken))).toMatch(/REWARD_FAILED.*"remote" threw: 503/);
  });

  test('that never returns is named after rewardTimeout, and its signal aborts', async () => {
    let signal: AbortSignal | undefined;
    const slow = named('slow', ({ signal: own }) => {
      signal = own;
      return new Promise<number[]>(() => {});
    });
    expect(await message(run({ ...slow, args: { rewardTimeout: 0.05 } }))).toMatch(
      /REWARD_FAILED.*"slow" has not returned after 0\.05 s/,
    );
    expect(signal!.aborted).toBe(true);
  });

  const wrong: [what: string, value: unknown, found: RegExp][] = [
    ['NaN', [1, 2, Number.NaN, 4], /gave NaN for completion 2/],
    ['Infinity', [1, Number.POSITIVE_INFINITY, 3, 4], /gave Infinity for completion 1/],
    ['a text', ['1', 2, 3, 4], /gave "1" for completion 0/],
    ['true', [true, 2, 3, 4], /gave true for completion 0.*Number\(condition\)/s],
    ['undefined', [1, undefined, 3, 4], /gave undefined for completion 1/],
    ['too few', [1, 2, 3], /gave 3 rewards for 4 completions/],
    ['too many', [1, 2, 3, 4, 5], /gave 5 rewards for 4 completions/],
    ['one number', 1, /gave 1\./],
    ['nothing', undefined, /gave undefined\./],
  ];
  test.each(wrong)('that gives %s is named with the value and its row', async (_, value, found) => {
    const reason = await message(run(named('rate', () => value as number[])));
    expect(reason).toMatch(/REWARD_VALUE.*"rate"/);
    expect(reason).toMatch(found);
  });

  test('without an opinion on anything trains nothing away: the run goes on with advantage 0', async () => {
    const t = await trainer(named('silent', ({ completions }) => completions.map(() => null)));
    const { globalStep } = await t.train();
    expect(globalStep).toBe(1);
    expect(t.completions!.rows.map(({ advantage }) => advantage)).toEqual([0, 0, 0, 0]);
    expect(t.completions!.rows[0]!.rewards).toEqual({ silent: null });
  });

  test('is given the columns of the rows, each for every completion, and where the run stands', async () => {
    const seen: Record<string, unknown>[] = [];
    const t = await trainer({
      trainDataset: rows.map((row, i) => ({
        ...row,
        answer: `a${i}`,
        ...(i === 0 && { hint: 1 }),
      })),
      rewardFuncs: (input) => {
        seen.push(input);
        return input.completions.map(() => 0);
      },
      args: { shuffle: false },
    });
    await t.train();
    expect(seen[0]).toMatchObject({
      answer: ['a0', 'a0', 'a1', 'a1'],
      hint: [1, 1, null, null],
      trainerState: t.state,
    });
    expect((seen[0]!.completionIds as number[][]).every((ids) => ids.length > 0)).toBe(true);
  });

  test.each([
    ['missing', undefined, /TRAINER_OPTION.*rewardFuncs is missing/],
    ['a text', 'happy', /TRAINER_OPTION.*rewardFuncs\[0\] is neither/],
    ['none', [], /TRAINER_OPTION.*rewardFuncs is missing/],
  ])('that is %s is refused', async (_, rewardFuncs, found) => {
    expect(await message(trainer({ rewardFuncs } as Changes))).toMatch(found);
  });

  test('needs one weight each', async () => {
    expect(await message(trainer({ args: { rewardWeights: [1, 2] } }))).toMatch(
      /REWARD_OPTION.*rewardWeights has 2 entries for 1/,
    );
  });
});

describe('a reward model', () => {
  const reward = (changes: object, numLabels = 1) =>
    AutoModelForSequenceClassification.fromConfig(
      { ...config, ...changes, num_labels: numLabels },
      {
        attune,
        seed: 1,
        numLabels,
      },
    );

  test('of another vocabulary needs its own tokenizer', async () => {
    const rewardFuncs = await reward({ vocab_size: 19 });
    const tokenizer = { encode: () => [1] } as never;
    expect(await message(trainer({ rewardFuncs, tokenizer }))).toMatch(
      /REWARD_TOKENIZER.*rewardFuncs\[0\] has a vocabulary of 19, the policy one of 17/,
    );
  });

  test('that has no tokenizer at all is refused', async () => {
    expect(await message(trainer({ rewardFuncs: await reward({}) }))).toMatch(
      /REWARD_TOKENIZER.*reads text and has no tokenizer/,
    );
  });

  test('whose tokenizer gives ids outside of its vocabulary is named with the row', async () => {
    const rewardFuncs = await reward({});
    const rewardTokenizers = { encode: () => [3, 40] } as never;
    expect(await message(run({ rewardFuncs, rewardTokenizers }))).toMatch(
      /REWARD_TOKENIZER.*completion 0 has the token id 40/,
    );
  });

  test('with several scores is refused', async () => {
    const rewardFuncs = await reward({}, 3);
    expect(
      await message(trainer({ rewardFuncs, rewardTokenizers: { encode: () => [1] } as never })),
    ).toMatch(/REWARD_MODEL.*3 scores/);
  });

  test('without a score is refused', async () => {
    expect(await message(trainer({ rewardFuncs: model }))).toMatch(/REWARD_MODEL.*without scores/);
  });

  test('gives each completion the score of its own text, whatever is beside it', async () => {
    const rewardFuncs = await reward({ initializer_range: 0.5 });
    const ids = (text: string) => Array.from(text, (c) => 3 + (c.charCodeAt(0) % 14));
    const tokenizer = {
      encode: ids,
      decode: (own: ArrayLike<number>) => Array.from(own).join(' '),
    };
    const t = await trainer({
      rewardFuncs,
      tokenizer: tokenizer as never,
      trainDataset: ['ab', 'c', 'def', 'g'].map((prompt) => ({ prompt })),
      rollout: () => ({ completionIds: [[3], [4, 5, 6], [7, 2], [8, 8, 8, 8]] }),
      args: { shuffle: false },
    });
    await t.train();
    const { engine } = attune;
    for (const { prompt, completion, rewards } of t.completions!.rows) {
      const text = ids(`${prompt}${completion}`);
      const score = await engine
        .scope('score', () =>
          engine.keep(
            rewardFuncs.scores!({ inputIds: engine.tensor(text, [1, text.length], 'int32') }),
          ),
        )
        .item();
      expect(rewards.reward_model).toBeCloseTo(score, 6);
    }
    const scores = t.completions!.rows.map(({ rewards }) => rewards.reward_model);
    expect(new Set(scores).size).toBe(4);
  });

  test('rates together with a function', async () => {
    const t = await trainer({
      rewardFuncs: [await reward({}), one],
      rewardTokenizers: [{ encode: () => [3, 4, 5] } as never, null],
    });
    await t.train();
    const { rewards } = t.completions!.rows[0]!;
    expect(Object.keys(rewards)).toEqual(['reward_model', 'one']);
    expect(Number.isFinite(rewards.reward_model)).toBe(true);
  });
});

describe('a rollout of the user', () => {
  const giving = (output: unknown): Changes => ({ rollout: () => output as RolloutOutput });
  const four = [[3], [4], [5], [6]];

  test('that throws is named', async () => {
    const rollout = () => {
      throw new Error('server gone');
    };
    expect(await message(run({ rollout }))).toMatch(/ROLLOUT_FAILED.*server gone/);
  });

  const wrong: [what: string, output: unknown, found: RegExp][] = [
    ['nothing', undefined, /no list completionIds/],
    ['too few', { completionIds: [[3], [4]] }, /2 completions where 4/],
    ['an empty completion', { completionIds: [[3], [], [5], [6]] }, /no tokens for completion 1/],
    ['a foreign token', { completionIds: [[3], [4], [17], [6]] }, /token 17 in completion 2/],
    ['half a token', { completionIds: [[3], [4.5], [7], [6]] }, /token 4.5 in completion 1/],
    [
      'too many tokens',
      { completionIds: [[3, 3, 3, 3, 3], [4], [5], [6]] },
      /5 tokens for completion 0; maxCompletionLength is 4/,
    ],
    [
      'log-probs of fewer rows',
      { completionIds: four, logProbs: [[0]] },
      /logProbs of 1 completions for 4/,
    ],
    [
      'log-probs of other lengths',
      { completionIds: four, logProbs: [[-1], [-1, -1], [-1], [-1]] },
      /2 logProbs for the 1 tokens of completion 1/,
    ],
    [
      'probabilities',
      { completionIds: four, logProbs: [[0.5], [-1], [-1], [-1]] },
      /log-probability 0.5 in completion 0/,
    ],
    [
      'NaN',
      { completionIds: four, logProbs: [[-1], [-1], [-1], [Number.NaN]] },
      /log-probability NaN in completion 3/,
    ],
  ];
  test.each(wrong)('that gives %s is refused with row and value', async (_, output, found) => {
    const reason = await message(run(giving(output)));
    expect(reason).toMatch(/ROLLOUT_OUTPUT/);
    expect(reason).toMatch(found);
  });

  test('is told prompts, how many, and a seed', async () => {
    let asked: object | undefined;
    const t = await trainer({
      rollout: (input) => {
        asked = input;
        return { completionIds: four };
      },
      args: { shuffle: false },
    });
    await t.train();
    expect(asked).toMatchObject({
      numGenerations: 2,
      promptIds: [[3, 4], [5]].map((ids) => Int32Array.from(ids)),
    });
    expect(Number.isInteger((asked as { seed: number }).seed)).toBe(true);
  });

  test('is no function: refused', async () => {
    expect(await message(trainer({ rollout: 'http://localhost' } as never))).toMatch(
      /TRAINER_OPTION.*rollout is no function/,
    );
  });
});

describe('sizes that do not go together', () => {
  test.each([
    [{ numGenerations: 3 }, /a rollout is of 4 completions.*numGenerations is 3/],
    [{ numGenerations: 1 }, /numGenerations is 1/],
    [
      { generationBatchSize: 6 },
      /generationBatchSize is 6, no multiple of perDeviceTrainBatchSize/,
    ],
    [{ generationBatchSize: 8, stepsPerGeneration: 2 }, /both given/],
    [
      { gradientAccumulationSteps: 2, stepsPerGeneration: 3 },
      /3 micro-batches, and an update takes 2/,
    ],
    [{ autoFindBatchSize: true }, /autoFindBatchSize/],
    [{ maxCompletionLength: 32 }, /maxCompletionLength is 32, and the model allows 32/],
    [{ temperature: 0 }, /temperature is 0/],
    [{ beta: -1 }, /beta is -1/],
    [{ epsilon: -0.1 }, /epsilon is -0\.1/],
    [{ lossType: 'ppo' }, /lossType is "ppo"/],
    [{ topP: 0 }, /topP is 0/],
    [{ scaleRewards: 'std' }, /scaleRewards is "std"/],
    [{ entropyCoef: 0.1 }, /UNKNOWN_OPTION.*entropyCoef/],
  ])('%j is refused', async (args, found) => {
    expect(await message(trainer({ args }))).toMatch(found);
  });

  test('an evaluation of half a group is refused', async () => {
    const changes = { evalDataset: rows, args: { perDeviceEvalBatchSize: 3 } };
    expect(await message(trainer(changes))).toMatch(/perDeviceEvalBatchSize is 3.*2 completions/);
  });

  test('fewer prompts than a rollout takes are counted', async () => {
    expect(await message(run({ trainDataset: rows.slice(0, 1) }))).toMatch(
      /NO_TRAINING_ROWS.*fewer training rows than the 2/,
    );
  });

  test('prompts that leave no room for a completion are left out and counted', async () => {
    const long = { input_ids: Array<number>(30).fill(3) };
    const t = await trainer({ trainDataset: [...rows, long] });
    expect((await t.train()).globalStep).toBe(1);
  });

  test('a model that scores draws nothing', async () => {
    const classifier = await AutoModelForSequenceClassification.fromConfig(config, {
      attune,
      seed: 1,
      numLabels: 1,
    });
    expect(await message(trainer({ model: classifier }))).toMatch(/CAUSAL_LM_NEEDED/);
  });

  test('RLOO with lower and upper bound exchanged is refused', async () => {
    const make = async () =>
      new RLOOTrainer({
        model,
        trainDataset: rows,
        rewardFuncs: one,
        args: { beta: 0, rewardClipRange: [1, 0] },
      } as RlooTrainerOptions);
    expect(await message(make())).toMatch(/rewardClipRange/);
  });
});

test('Ctrl-C while a reward function waits ends the run cleanly', async () => {
  const stop = new AbortController();
  const t = await trainer({
    rewardFuncs: () => {
      setTimeout(() => stop.abort(), 20);
      return new Promise<number[]>(() => {});
    },
  });
  const { stoppedBy, globalStep } = await t.train({ signal: stop.signal });
  expect([stoppedBy, globalStep]).toEqual(['abort', 0]);
});
