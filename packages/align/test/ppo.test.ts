import { join } from 'node:path';
import { align, type PPOTrainer, type PpoStep, type PpoTrainerOptions } from '@attune/align';
import { type Attune, createAttune, silentLogger } from '@attune/core';
import {
  AutoModelForCausalLM,
  AutoModelForCausalLMWithValueHead,
  AutoModelForSequenceClassification,
} from '@attune/core/models';
import { peft } from '@attune/peft';
import { describe, expect, test } from 'vitest';
import { float32Attune } from '../../core/test/trainer/support.js';
import {
  type Changes,
  config,
  folder,
  high,
  open,
  policyOf,
  prompts,
  trainer,
} from './ppo.support.js';

const fixture = join(import.meta.dirname, '../../../parity/fixtures/tiny-llama');

async function steps(ppo: PPOTrainer): Promise<PpoStep[]> {
  const all: PpoStep[] = [];
  for await (const step of ppo.steps()) all.push(step);
  return all;
}
const values = async (ppo: PPOTrainer): Promise<Record<string, number[]>> => {
  const { root } = ppo.model;
  const modules = Object.entries(ppo.objective.modules ?? {});
  const all: Record<string, number[]> = {};
  for (const [prefix, module] of [['', root] as const, ...modules])
    for (const [name, { tensor }] of module.namedParameters())
      all[`${prefix}.${name}`] = Array.from(await tensor.data());
  return all;
};

describe('PPOTrainer', () => {
  test('tells of each group once, with the numbers of its answers and of its updates', async () => {
    const ppo = await trainer();
    const all = await steps(ppo);
    expect(all.map(({ step, episode }) => [step, episode])).toEqual([
      [4, 8],
      [8, 16],
    ]);
    const names = [
      ...['kl', 'entropy', 'non_score_reward', 'rlhf_reward', 'scores'].map(
        (n) => `objective/${n}`,
      ),
      ...['approxkl_avg', 'clipfrac_avg', 'entropy_avg'].map((name) => `policy/${name}`),
      ...['loss/policy_avg', 'loss/value_avg', 'val/clipfrac_avg', 'val/ratio', 'val/ratio_var'],
      'val/num_eos_tokens',
    ] as const;
    for (const stats of all) {
      for (const name of names)
        expect(stats[name as 'val/ratio'], name).toEqual(expect.any(Number));
      expect(stats.lr).toBeGreaterThan(0);
      expect(stats.eps).toBeGreaterThan(0);
    }
    const [first] = all;
    expect(first!['objective/kl']).toBe(0); // the adapter does nothing yet
    expect(ppo.state.logHistory.filter(({ loss }) => loss !== undefined)).toHaveLength(2);
    const { rows } = ppo.completions!;
    expect(rows).toHaveLength(8); // six prompts: two are answered twice
    const mean = rows.reduce((sum, { rewards }) => sum + rewards.high!, 0) / 8;
    expect(all[1]!['objective/scores']).toBeCloseTo(mean, 12);
  });

  test('moves answers towards the reward', async () => {
    const args = {
      ...{ batchSize: 32, miniBatchSize: 32, maxSteps: 100, learningRate: 0.1 },
      ...{ temperature: 1, klCoef: 0.01 },
    };
    const all = await steps(await trainer({ args }));
    expect(all.at(-1)!['objective/scores']).toBeGreaterThan(all[0]!['objective/scores']! + 0.1);
    expect(all.at(-1)!['objective/kl']).toBeGreaterThan(0);
  });

  test('totalEpisodes counts answers', async () => {
    const ppo = await trainer({ args: { maxSteps: undefined, totalEpisodes: 24 } });
    expect((await ppo.train()).globalStep).toBe(12); // three groups of four updates
  });

  test('micro-batches have the gradient of the mini-batch', async () => {
    const runs: (typeof PPOTrainer.prototype.state.logHistory)[] = [];
    for (const perDeviceTrainBatchSize of [4, 2, 1]) {
      const args = { perDeviceTrainBatchSize, loggingSteps: 1, maxSteps: 4 };
      const ppo = await trainer({ args });
      await ppo.train();
      runs.push(ppo.state.logHistory.filter(({ loss }) => loss !== undefined));
    }
    const names = ['loss', 'gradNorm', 'policy/approxkl_avg', 'loss/value_avg', 'val/ratio'];
    for (const run of runs.slice(1))
      run.forEach((row, i) => {
        for (const name of names)
          expect(row[name] as number, name).toBeCloseTo(runs[0]![i]![name] as number, 5);
      });
  });

  test('an adaptive weight of the KL follows its target, and a resumed run goes on with it', async () => {
    const args = { adapKlCtrl: true, targetKl: 1e-6, horizon: 10, initKlCoef: 0.1 };
    const outputDir = await folder();
    const ppo = await trainer({
      args: { ...args, outputDir, saveStrategy: 'steps', saveSteps: 4 },
    });
    const all = await steps(ppo);
    expect(all[0]!['objective/kl_coef']).toBe(0.1);
    expect(all[1]!['objective/kl_coef']).toBeCloseTo(0.1 * (1 - (0.2 * 8) / 10), 12); // KL was 0
    const resumed = await trainer({ args: { ...args, outputDir, saveStrategy: 'no' } });
    for await (const step of resumed.steps({ resumeFromCheckpoint: `${outputDir}/checkpoint-4` }))
      expect(step['objective/kl_coef']).toBe(all[1]!['objective/kl_coef']);
  });

  test('an evaluation draws answers and logs them, and learns nothing', async () => {
    const ppo = await trainer({ evalDataset: prompts });
    const before = await values(ppo);
    const metrics = await ppo.evaluate();
    expect(metrics['eval_objective/scores']).toBeGreaterThan(0);
    expect(metrics['eval_loss/value_avg']).toBeGreaterThan(0);
    expect(await values(ppo)).toEqual(before);
    expect(await ppo.evaluate()).toMatchObject({
      'eval_objective/scores': metrics['eval_objective/scores'],
    });
  });
});

describe('critic and reference', () => {
  test('a new value head is trained, counted and in checkpoints; the base has one copy', async () => {
    const ppo = await trainer();
    const before = await values(ppo);
    await ppo.train();
    const after = await values(ppo);
    const changed = Object.keys(after).filter((name) => `${after[name]}` !== `${before[name]}`);
    expect(changed.filter((name) => name.startsWith('v_head'))).toEqual([
      'v_head.summary.weight',
      'v_head.summary.bias',
    ]);
    expect(changed.every((name) => /v_head|lora/.test(name))).toBe(true);
  });

  test("a policy's own value head is trained beside its adapter", async () => {
    const policy = await AutoModelForCausalLMWithValueHead.fromConfig(config, {
      attune: await open(),
      seed: 3,
    });
    const ppo = await trainer({ policy: policy as never });
    const before = await values(ppo);
    await ppo.train();
    const after = await values(ppo);
    const changed = Object.keys(after).filter((name) => `${after[name]}` !== `${before[name]}`);
    expect(changed.some((name) => name.includes('v_head'))).toBe(true);
    expect(ppo.objective.modules).toEqual({});
  });

  test('a value model and a reward model beside a function', async () => {
    const attune = await open();
    const scored = () =>
      AutoModelForSequenceClassification.fromConfig(config, { attune, numLabels: 1, seed: 4 });
    const tokenizer = {
      encode: (text: string) => text.split(' ').filter(Boolean).map(Number),
      decode: (ids: readonly number[]) => Array.from(ids, (id) => ` ${id}`).join(''),
      eosTokenId: 2,
    };
    const ppo = await trainer({
      policy: await policyOf(attune),
      reward: await scored(),
      rewardFuncs: high,
      valueModel: await scored(),
      tokenizer: tokenizer as never,
    });
    const before = await values(ppo);
    const all = await steps(ppo);
    expect(all[0]!['rewards/reward_model/mean' as 'val/ratio']).toEqual(expect.any(Number));
    expect(all[0]!['rewards/high/mean' as 'val/ratio']).toEqual(expect.any(Number));
    const after = await values(ppo);
    const changed = Object.keys(after).filter((name) => `${after[name]}` !== `${before[name]}`);
    expect(changed.some((name) => name.startsWith('value_model.'))).toBe(true);
  });

  test('without an adapter the reference is a frozen copy: the KL grows from 0', async () => {
    const policy = await AutoModelForCausalLM.fromPretrained(fixture, { attune: await open() });
    const args = { learningRate: 0.01, maxSteps: 12 };
    const ppo = await trainer({ policy, peftConfig: undefined, args });
    const all = await steps(ppo);
    expect(all[0]!['objective/kl']).toBeCloseTo(0, 5);
    expect(Math.abs(all[2]!['objective/kl']!)).toBeGreaterThan(1e-3);
  });
});

describe('a run', () => {
  // A checkpoint holds float32, so does this backend.
  const onFloat32 = async (changes: Changes = {}) => {
    const attune = await float32Attune();
    return {
      attune,
      ppo: await trainer({
        policy: await policyOf(attune),
        reference: await policyOf(attune),
        peftConfig: undefined,
        ...changes,
      }),
    };
  };
  const rows = (ppo: PPOTrainer) =>
    ppo.state.logHistory.map(({ step, loss, gradNorm, learningRate }) => ({
      step,
      loss,
      gradNorm,
      learningRate,
    }));

  test('that dies in a rollout goes on to the same bits', async () => {
    const args = {
      maxSteps: 12,
      loggingSteps: 1,
      saveStrategy: 'steps',
      saveSteps: 4,
      adapKlCtrl: true,
    };
    const whole = await onFloat32({ args });
    await whole.ppo.train();
    const outputDir = await folder();
    let calls = 0;
    const failing: PpoTrainerOptions['rewardFuncs'] = (input) => {
      if (++calls === 3) throw new Error('out of memory');
      return high(input);
    };
    Object.defineProperty(failing, 'name', { value: 'high' });
    const dying = await onFloat32({ rewardFuncs: failing, args: { ...args, outputDir } });
    await expect(dying.ppo.train()).rejects.toThrow(/REWARD_FAILED/);
    expect(dying.ppo.state.globalStep).toBe(8);
    const resumed = await onFloat32({ args: { ...args, outputDir } });
    await resumed.ppo.train({ resumeFromCheckpoint: true });
    expect(await values(resumed.ppo)).toEqual(await values(whole.ppo));
    expect(rows(resumed.ppo)).toEqual(rows(whole.ppo));
    expect(resumed.ppo.completions).toEqual(whole.ppo.completions);
    for (const { attune } of [whole, dying, resumed]) await attune.dispose();
  });

  test('holds as much memory after many groups as after a few', async () => {
    const attune: Attune = await createAttune({
      plugins: [peft(), align()],
      logger: silentLogger,
      backend: 'reference',
    });
    const ppo = await trainer({
      policy: await policyOf(attune),
      args: { maxSteps: 120, ppoEpochs: 1, maxNewTokens: 3 },
    });
    const held: number[] = [];
    for await (const _ of ppo.steps()) held.push(attune.backend.stats.liveBytes);
    expect(held).toHaveLength(60);
    const late = held.slice(-30);
    expect(Math.max(...late)).toBeLessThanOrEqual(Math.max(...held.slice(5, 30)));
    await attune.dispose();
  });

  test('with other coefficients does not go on from a checkpoint', async () => {
    const outputDir = await folder();
    const args = { outputDir, saveStrategy: 'steps', saveSteps: 4, maxSteps: 4 };
    await (await trainer({ args })).train();
    const other = await trainer({ args: { ...args, maxSteps: 8, cliprange: 0.3 } });
    await expect(other.train({ resumeFromCheckpoint: true })).rejects.toThrow(
      /cliprange was 0\.2 and is 0\.3/,
    );
  });
});
