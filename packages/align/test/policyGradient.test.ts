import { describe, expect, test } from 'vitest';
import {
  completionWeights,
  type PolicyLossType,
  type PolicyOptions,
  policyGradient,
} from '../src/losses/policyGradient.js';
import { policyMetrics } from '../src/losses/policyMetrics.js';
import { mostUncertain } from '../src/objectives/grpo.js';
import {
  grpoAdvantages,
  type MultiObjectiveAggregation,
  rlooAdvantages,
  type ScaleRewards,
} from '../src/rollout/advantages.js';
import { type FixtureTensor, fixture as fixtureJson, numbers, Oracle } from './fixtures.js';
import { camelMetric, close } from './policy.support.js';

interface AdvantageCase {
  readonly name: string;
  readonly rewards: readonly (readonly (number | null)[])[];
  readonly settings: Readonly<Record<string, unknown>>;
  readonly advantages: FixtureTensor;
  readonly metrics: Readonly<Record<string, number | string>>;
}

const matrixOf = ({ rewards }: AdvantageCase) => ({
  perFunction: rewards.map((own) => own.map((reward) => reward ?? Number.NaN)),
  weights: rewards.map(() => 1),
  numGenerations: 4,
});

describe('row 91: advantages of GRPOTrainer', () => {
  const { cases } = fixtureJson('row91-grpo-advantages.json') as { cases: AdvantageCase[] };
  test.each(cases.map((c) => [c.name, c] as const))('%s', (_, c) => {
    const { scale_rewards, multi_objective_aggregation } = c.settings;
    const found = grpoAdvantages(matrixOf(c), {
      ...(scale_rewards !== undefined && { scaleRewards: scale_rewards as ScaleRewards }),
      ...(multi_objective_aggregation !== undefined && {
        aggregation: multi_objective_aggregation as MultiObjectiveAggregation,
      }),
    });
    close(found.advantages, numbers(c.advantages), 1e-5, 1e-6);
    close([found.fracZeroStd], [c.metrics.frac_reward_zero_std as number], 1e-6);
  });
});

describe('row 93: advantages of RLOOTrainer', () => {
  const { cases } = fixtureJson('row93-rloo-advantages.json') as { cases: AdvantageCase[] };
  test.each(cases.map((c) => [c.name, c] as const))('%s', (_, c) => {
    const { normalize_advantages, reward_clip_range } = c.settings;
    const found = rlooAdvantages(matrixOf(c), {
      normalizeAdvantages: normalize_advantages === true,
      ...(reward_clip_range !== undefined && {
        rewardClipRange: reward_clip_range as [number, number],
      }),
    });
    close(found.advantages, numbers(c.advantages), 1e-5, 1e-6);
    close([found.fracZeroStd], [c.metrics.frac_reward_zero_std as number], 1e-6);
  });
});

interface LossCase {
  readonly name: string;
  readonly settings: Readonly<Record<string, unknown>>;
  readonly isOnPolicy: boolean;
  readonly loss: number;
  readonly grad: FixtureTensor;
  readonly metrics: Readonly<Record<string, number | string>>;
}

const optionsOf = (settings: LossCase['settings']): PolicyOptions => {
  const given = <T>(name: string, fallback: T): T => (settings[name] as T | undefined) ?? fallback;
  return {
    lossType: settings.loss_type as PolicyLossType,
    importanceSamplingLevel: given('importance_sampling_level', 'token'),
    beta: given('beta', 0),
    epsilonLow: 0.2,
    epsilonHigh: given('epsilon_high', 0.2),
    delta: given('delta', null),
    useBiasCorrectionKl: given('use_bias_correction_kl', true),
    offPolicyMaskThreshold: given('off_policy_mask_threshold', null),
    sapoTemperaturePos: 1,
    sapoTemperatureNeg: 1.05,
    vespoKPos: 2,
    vespoLambdaPos: 3,
    vespoKNeg: 3,
    vespoLambdaNeg: 2,
  };
};

describe('row 92: losses, gradients and metrics of GRPOTrainer', () => {
  const fixture = fixtureJson('row92-grpo-losses.json') as {
    cases: LossCase[];
    inputs: Record<string, FixtureTensor>;
    maxCompletionLength: number;
  };
  const { cases, inputs, maxCompletionLength } = fixture;
  const rows = inputs.mask!.shape[0]!;
  const width = inputs.mask!.shape[1]!;
  const counts = Array.from({ length: rows }, (_, r) =>
    numbers(inputs.mask!)
      .slice(r * width, (r + 1) * width)
      .reduce((sum, m) => sum + m, 0),
  );

  test.each(cases.map((c) => [c.name, c] as const))('%s', (_, c) => {
    const oracle = new Oracle();
    const { engine } = oracle;
    const options = optionsOf(c.settings);
    const quantile = (c.settings.top_entropy_quantile as number | undefined) ?? 1;
    const tensor = (values: ArrayLike<number>, shape: readonly number[]) =>
      oracle.tensor({ shape, data: Array.from(values) });
    const of = (name: string) => oracle.tensor(inputs[name]!, name === 'logps');
    const logProbs = of('logps');
    const kept =
      quantile < 1 && mostUncertain(numbers(inputs.entropies!), numbers(inputs.mask!), quantile);
    const tokens = {
      logProbs,
      oldLogProbs: c.isOnPolicy ? undefined : of('old'),
      refLogProbs: options.beta === 0 ? undefined : of('ref'),
      samplingLogProbs: of('sampling'),
      advantages: of('advantages'),
      mask: of('mask'),
      counts: tensor(
        counts.map((n) => Math.max(n, 1)),
        [rows],
      ),
      kept: kept ? tensor(kept, [rows, width]) : undefined,
    };
    const weights = completionWeights(options.lossType, {
      counts,
      ofRollout: { completions: rows, tokens: counts.reduce((sum, n) => sum + n, 0) },
      maxCompletionLength,
    });
    const gradient = policyGradient(tokens, options);
    const loss = gradient.perToken
      .mul(tokens.mask)
      .sum(1)
      .mul(tensor(weights, [rows]))
      .mean();
    engine.backward(loss);
    close([oracle.values(loss)[0]!], [c.loss], 2e-6, 1e-9);
    close(oracle.values(logProbs.grad), numbers(c.grad), 1e-5, 1e-8);
    const metrics = policyMetrics({ ...tokens, gradient, entropy: of('entropies') }, options);
    for (const [name, expected] of Object.entries(c.metrics)) {
      const metric = metrics[camelMetric(name)];
      if (!metric || expected === 'NaN') continue;
      const { sum, count = 1 } = metric;
      const divisor = typeof count === 'number' ? count : oracle.values(count)[0]!;
      close([oracle.values(sum)[0]! / divisor], [expected as number], 1e-5, 1e-7);
    }
    const named = Object.keys(c.metrics).filter((name) =>
      /^(kl|entropy|clip|cispo|vespo)/.test(name),
    );
    expect(Object.keys(metrics)).toEqual(expect.arrayContaining(named.map(camelMetric)));
  });
});
