import {
  bradleyTerry,
  type CombinedLossOptions,
  type CpoOptions,
  checkPairLoss,
  classSums,
  combinedLoss,
  cpoLosses,
  type KtoOptions,
  klBaseline,
  ktoLosses,
  lengthWeights,
  log1mexp,
  logRatios,
  oddsRatio,
  type PairLogProbs,
  pairWeights,
} from '@attune/align';
import { type Engine, IGNORE_INDEX, type Tensor } from '@attune/core';
import { describe, expect, it } from 'vitest';
import { expectClose, type FixtureTensor, fixture, numbers, Oracle } from './fixtures.js';

// What TRL's own methods give (parity/rows_align_losses.py), against ours in float64.

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b) / values.length;

interface PairOptions extends CombinedLossOptions {
  readonly batch: string;
  readonly ldAlpha: number | null;
  readonly useWeighting: boolean;
}

/** mask [2B, T] as labels that are shifted, [2B, T - 1]. */
function shiftedLabels({ shape, data }: FixtureTensor) {
  const [rows, width] = shape as [number, number];
  const labels = new Int32Array(rows * (width - 1)).fill(IGNORE_INDEX);
  for (let row = 0; row < rows; row++)
    for (let t = 1; t < width; t++)
      if (data[row * width + t] === 1) labels[row * (width - 1) + t - 1] = 1;
  return { data: labels, shape: [rows, width - 1], dtype: 'int32' as const };
}

const counts = ({ data, shape }: ReturnType<typeof shiftedLabels>): FixtureTensor => {
  const [rows, width] = shape as [number, number];
  const count = (row: number) =>
    data.subarray(row * width, (row + 1) * width).filter((label) => label !== IGNORE_INDEX).length;
  return { shape: [rows], data: Array.from({ length: rows }, (_, row) => count(row)) };
};

describe.each(['row65-pair-losses', 'row70-divergences'])('%s', (file) => {
  const { cases, batches, tolerance } = fixture(`${file}.json`);
  it.each(cases.map((c) => c.name))('%s', (name) => {
    const found = cases.find((c) => c.name === name)!;
    const options = found.attrs as unknown as PairOptions;
    checkPairLoss(options);
    const oracle = new Oracle();
    const { policy, reference, mask, concentration } = batches![options.batch]!;
    const labels = shiftedLabels(mask!);
    const numTokens = oracle.tensor(counts(labels));
    const tokens = oracle.tensor(policy!, true);
    const { ldAlpha } = options;
    const weights =
      ldAlpha === null
        ? null
        : oracle.tensor({
            ...labels,
            data: Array.from(lengthWeights(labels, ldAlpha).data, (w) =>
              w === Math.fround(ldAlpha) ? ldAlpha : w,
            ),
          });
    const sums = (x: Tensor) => (weights ? x.mul(weights) : x).sum(1);
    const [own, other] = [sums(tokens), sums(oracle.tensor(reference!))];
    const count = own.size / 2;
    const halves = (x: Tensor) => [x.slice(0, 0, count), x.slice(0, count, 2 * count)] as const;
    const [chosen, rejected] = halves(own);
    const [refChosen, refRejected] = halves(other);
    const [chosenCounts, rejectedCounts] = halves(numTokens);
    const x: PairLogProbs = {
      ...{ chosen, rejected, refChosen, refRejected, chosenCounts, rejectedCounts },
      chosenTokens: tokens.sum(1).slice(0, 0, count),
    };
    const wpo = options.useWeighting
      ? pairWeights({
          logProbs: tokens,
          concentration: oracle.tensor(concentration!),
          counts: numTokens,
        })
      : undefined;
    const losses = combinedLoss(x, options, wpo);
    expect(losses.shape).toEqual([count]);
    const allowed = found.tolerance ?? tolerance;
    const { loss, chosen: won, rejected: lost, accuracies, margins } = found.outputs;
    expectClose([mean(oracle.values(losses))], loss!, allowed);
    const rewards = logRatios(x);
    const reward = (t: Tensor) => oracle.values(t).map((value) => value * options.beta);
    const [winning, losing] = [reward(rewards.chosen), reward(rewards.rejected)];
    expectClose([mean(winning)], won!, allowed);
    expectClose([mean(losing)], lost!, allowed);
    expectClose([mean(winning.map((w, i) => w - losing[i]!))], margins!, allowed);
    expectClose([mean(winning.map((w, i) => Number(w > losing[i]!)))], accuracies!, allowed);
    oracle.engine.backward(losses.sum(), { scale: 1 / count });
    // Outside of answers log-probabilities are constants, whatever gradient TRL's sum gives them.
    const ofAnswers = (values: readonly number[]) =>
      values.filter((_, at) => labels.data[at] !== IGNORE_INDEX);
    const wanted = ofAnswers(numbers(found.grads.policy!));
    const got = ofAnswers(oracle.values(tokens.grad));
    expectClose(got, { shape: [wanted.length], data: wanted }, allowed);
  });
});

describe('row74-kto', () => {
  const { cases, tolerance } = fixture('row74-kto.json');
  it.each(cases.map((c) => c.name))('%s', (name) => {
    const { inputs, attrs, outputs, grads } = cases.find((c) => c.name === name)!;
    const options = attrs as unknown as KtoOptions & { lossType: string };
    const oracle = new Oracle();
    const leaf = oracle.tensor(inputs.logRatios!, true);
    const labels = oracle.tensor(inputs.labels!);
    const { kl, raw } = klBaseline(oracle.tensor(inputs.mismatched!));
    const withKl = options.lossType === 'kto';
    const losses = ktoLosses({ logRatios: leaf, labels, ...(withKl && { baseline: kl }) }, options);
    expectClose([mean(oracle.values(losses))], outputs.loss!, tolerance);
    if (withKl) expectClose(oracle.values(kl), outputs.kl!, tolerance);
    expectClose(oracle.values(raw), mean(numbers(inputs.mismatched!)), tolerance);
    oracle.engine.backward(losses.sum(), { scale: 1 / losses.size });
    expectClose(oracle.values(leaf.grad), grads.logRatios!, tolerance);
    const sums = classSums(leaf, labels);
    const ones = classSums(labels.mul(0).add(1), labels);
    for (const [key, of] of [
      ['rewards/chosen', 'desirable'],
      ['rewards/rejected', 'undesirable'],
    ] as const) {
      const size = oracle.values(ones[of])[0]!;
      if (outputs[key] === undefined) expect(size).toBe(0);
      else
        expectClose([(oracle.values(sums[of])[0]! * options.beta) / size], outputs[key], tolerance);
    }
  });
});

describe('row77-odds-ratio', () => {
  const { cases, tolerance } = fixture('row77-odds-ratio.json');
  it.each(cases.map((c) => c.name))('%s', (name) => {
    const { inputs, attrs, outputs, grads } = cases.find((c) => c.name === name)!;
    const oracle = new Oracle();
    const [w, l] = [oracle.tensor(inputs.chosen!, true), oracle.tensor(inputs.rejected!, true)];
    const { ratio, logOdds } = oddsRatio(w, l);
    const beta = Number(attrs.beta);
    expectClose(
      oracle.values(ratio).map((r) => r * beta),
      outputs.losses!,
      tolerance,
    );
    expectClose([mean(oracle.values(ratio))], outputs.ratio!, tolerance);
    expectClose([mean(oracle.values(logOdds))], outputs.logOdds!, tolerance);
    oracle.engine.backward(ratio.sum(), { scale: beta });
    expectClose(oracle.values(w.grad), grads.chosen!, tolerance);
    expectClose(oracle.values(l.grad), grads.rejected!, tolerance);
  });
});

describe('row79-log1mexp', () => {
  it('agrees from -1e-7 to -50', () => {
    const { cases, tolerance } = fixture('row79-log1mexp.json');
    const oracle = new Oracle();
    const x = oracle.tensor(cases[0]!.inputs.x!, true);
    const y = log1mexp(x);
    expectClose(oracle.values(y), cases[0]!.outputs.y!, tolerance);
    oracle.engine.backward(y.sum());
    expectClose(oracle.values(x.grad), cases[0]!.grads.x!, tolerance);
  });

  it('is finite where a probability is 1, and so is its gradient', () => {
    const oracle = new Oracle();
    const x = oracle.tensor({ shape: [2], data: [0, -1e-30] }, true);
    const y = log1mexp(x);
    expect(oracle.values(y)).toEqual(
      [Math.log(2 ** -24), Math.log(2 ** -24)].map((v) => expect.closeTo(v, 6)),
    );
    oracle.engine.backward(y.sum());
    expect(oracle.values(x.grad).map(Math.abs)).toEqual([0, 0]);
  });
});

describe('row80-cpo', () => {
  const { cases, tolerance } = fixture('row80-cpo.json');
  it.each(cases.map((c) => c.name))('%s', (name) => {
    const { inputs, attrs, outputs, grads } = cases.find((c) => c.name === name)!;
    const oracle = new Oracle();
    const [w, l] = [oracle.tensor(inputs.chosen!, true), oracle.tensor(inputs.rejected!, true)];
    const options = attrs as unknown as CpoOptions;
    const { losses, rewards } = cpoLosses({ chosen: w, rejected: l }, options);
    expectClose(oracle.values(losses), outputs.losses!, tolerance);
    expectClose(oracle.values(rewards.chosen), outputs.chosenRewards!, tolerance);
    expectClose(oracle.values(rewards.rejected), outputs.rejectedRewards!, tolerance);
    oracle.engine.backward(losses.sum());
    expectClose(oracle.values(w.grad), grads.chosen!, tolerance);
    expectClose(oracle.values(l.grad), grads.rejected!, tolerance);
  });
});

describe('row83-bradley-terry', () => {
  const { cases, tolerance } = fixture('row83-bradley-terry.json');
  it.each(cases.map((c) => c.name))('%s', (name) => {
    const { inputs, attrs, outputs, grads } = cases.find((c) => c.name === name)!;
    const oracle = new Oracle();
    const [w, l] = [oracle.tensor(inputs.chosen!, true), oracle.tensor(inputs.rejected!, true)];
    const losses = bradleyTerry(
      { chosen: w, rejected: l },
      {
        centerRewardsCoefficient: attrs.centerRewardsCoefficient as number | null,
        ...(inputs.margins && { margins: oracle.tensor(inputs.margins) }),
      },
    );
    expectClose([mean(oracle.values(losses))], outputs.loss!, tolerance);
    oracle.engine.backward(losses.sum(), { scale: 1 / losses.size });
    expectClose(oracle.values(w.grad), grads.chosen!, tolerance);
    expectClose(oracle.values(l.grad), grads.rejected!, tolerance);
  });
});

describe('what TRL does not have or refuses', () => {
  const pair = (engine: Engine): PairLogProbs => {
    const one = (value: number) => engine.tensor(Float32Array.of(value), [1]);
    return {
      ...{ chosen: one(-10), rejected: one(-12), refChosen: one(-11), refRejected: one(-11.5) },
      ...{ chosenCounts: one(4), rejectedCounts: one(5) },
    };
  };
  const lossOf = (options: Partial<CombinedLossOptions>, scale = 1): number => {
    const oracle = new Oracle();
    const x = pair(oracle.engine);
    const far = { ...x, chosen: x.chosen.mul(scale), rejected: x.rejected.mul(scale) };
    return oracle.values(combinedLoss(far, { beta: 0.1, lossType: ['sigmoid'], ...options }))[0]!;
  };

  it('smooths labels of sigmoid: 2 (1 - e) sigmoid - (1 - 2 e) robust', () => {
    for (const e of [0.1, 0.3]) {
      const robust = lossOf({ lossType: ['robust'], labelSmoothing: e });
      expect(lossOf({ labelSmoothing: e })).toBeCloseTo(
        2 * (1 - e) * lossOf({}) - (1 - 2 * e) * robust,
        12,
      );
    }
    expect(lossOf({ labelSmoothing: 0.1 })).toBeCloseTo(0.635957, 6);
  });

  it('gives DiscoPOP a finite loss where exp(-z) and sigmoid(z / tau) are infinite and 0', () => {
    // TRL: exp(800) * 0 = NaN in float64, and beyond 88 in float32.
    const loss = lossOf({ lossType: ['discopop'], beta: 400 });
    expect(loss).toBeCloseTo(0, 6);
    expect(lossOf({ lossType: ['discopop'], beta: 400 }, -1)).toBeCloseTo(400 * 1.5 + 400, 0);
  });

  it.each<[string, Parameters<typeof checkPairLoss>[0]]>([
    ['lossType is an empty list', { lossType: [], beta: 0.1 }],
    ['beta is 0', { lossType: ['sigmoid'], beta: 0 }],
    ['beta is -1', { lossType: ['ipo'], beta: -1 }],
    ['lossWeights has 1 numbers for 2', { lossType: ['sft', 'ipo'], beta: 1, lossWeights: [1] }],
    ['ipo does not read it', { lossType: ['ipo'], beta: 1, labelSmoothing: 0.1 }],
    ['labelSmoothing is 0', { lossType: ['exo_pair'], beta: 1 }],
    ['labelSmoothing is 0.5', { lossType: ['robust'], beta: 1, labelSmoothing: 0.5 }],
    [
      "'forward_kl', and aot reads",
      { lossType: ['ipo', 'aot'], beta: 1, fDivergenceType: 'forward_kl' },
    ],
    ['aot sorts the batch', { lossType: ['aot'], beta: 1, useWeighting: true }],
  ])('refuses: %s', (message, options) => {
    expect(() => checkPairLoss(options)).toThrow(message);
  });
});
