import { readFileSync } from 'node:fs';
import {
  gae,
  type KlEstimator,
  klController,
  maskedMean,
  maskedVar,
  maskedWhiten,
  penalised,
  ppoPolicyLoss,
  ppoRewards,
  ppoValueLoss,
  truncateAnswer,
} from '@attune/align';
import { Engine, type Tensor } from '@attune/core';
import { ReferenceBackend } from '@attune/core/backend';
import { checkGradients } from '@attune/core/testing';
import { describe, expect, it } from 'vitest';

// Rows 86 to 90: TRL's own code, run on these numbers (parity/rows_align_ppo.py).

interface Fixed {
  readonly shape: readonly number[];
  readonly data: readonly number[];
}
interface Case {
  readonly name: string;
  readonly inputs: Readonly<Record<string, Fixed>>;
  readonly attrs: Readonly<Record<string, never>>;
  readonly outputs: Readonly<Record<string, Fixed>>;
  readonly grads: Readonly<Record<string, Fixed>>;
}

const cases = (file: string): readonly Case[] => {
  const path = new URL(`../../../parity/fixtures/${file}.json`, import.meta.url);
  return JSON.parse(readFileSync(path, 'utf8')).cases;
};
const numbers = (fixed: Fixed | number): readonly number[] =>
  typeof fixed === 'number' ? [fixed] : fixed.data;
const rowsOf = ({ data, shape: [count, width] }: Fixed): number[][] =>
  Array.from({ length: count! }, (_, i) => data.slice(i * width!, (i + 1) * width!));

/** @param relative float64 on both sides; 1e-6 where a number on the way is a float32 */
function expectEqual(got: ArrayLike<number>, wanted: Fixed | number, relative = 1e-9): void {
  const expected = numbers(wanted);
  expect(got.length).toBe(expected.length);
  const off = expected.filter((e, i) => !(Math.abs(got[i]! - e) <= 1e-12 + relative * Math.abs(e)));
  expect(off).toEqual([]);
}

describe('row 86: generalised advantage estimation', () => {
  it.each(cases('row86-gae'))('$name', ({ inputs, attrs, outputs }) => {
    const [rewards, values] = [rowsOf(inputs.rewards!), rowsOf(inputs.values!)];
    const got = rewards.map((row, i) => gae(row, values[i]!, attrs as never));
    expectEqual(
      got.flatMap(({ advantages }) => [...advantages]),
      outputs.advantages!,
    );
    expectEqual(
      got.flatMap(({ returns }) => [...returns]),
      outputs.returns!,
    );
  });
});

describe('row 87: masked mean, variance, whitening', () => {
  it.each(cases('row87-masked'))('$name', ({ inputs, outputs }) => {
    const [values, mask] = [inputs.values!.data, inputs.mask!.data];
    expectEqual([maskedMean(values, mask)], outputs.mean!);
    // Torch divides two counts to a float32: n / (n - 1).
    expectEqual([maskedVar(values, mask)], outputs.var!, 1e-6);
    expectEqual(maskedWhiten(values, mask), outputs.whitened!, 1e-6);
    expectEqual(maskedWhiten(values, mask, { shiftMean: false }), outputs.scaled!, 1e-6);
  });

  it('whitens a single number to 0, of which torch makes NaN', () => {
    expect([...maskedWhiten([3, 7], [0, 1])]).toEqual([0, 0]);
    expect([...maskedWhiten([3, 7], [0, 1], { shiftMean: false })]).toEqual([0, 7]);
    expect([...maskedWhiten([3, 7], [0, 0])]).toEqual([0, 0]);
  });
});

describe('row 88: clipped policy and value losses', () => {
  it.each(cases('row88-ppo-loss'))('$name', ({ inputs, attrs, outputs, grads }) => {
    const backend = new ReferenceBackend();
    const engine = new Engine(backend);
    const leaf = (name: string): Tensor => {
      const tensor = engine.empty(inputs[name]!.shape);
      backend.poke(tensor.operand, inputs[name]!.data);
      return tensor;
    };
    const terms = Object.fromEntries(Object.keys(inputs).map((name) => [name, leaf(name)]));
    for (const name of ['logProbs', 'values']) terms[name]!.requiresGrad = true;
    const { cliprange, cliprangeValue, vfCoef } = attrs as unknown as Record<string, number>;
    const policy = ppoPolicyLoss(terms as never, cliprange!);
    const value = ppoValueLoss(terms as never, cliprangeValue!);
    const mean = (x: Tensor, mask: Tensor) => x.mul(mask).sum().div(mask.sum());
    const losses = [mean(policy.losses, terms.mask!), mean(value.losses, terms.maskP1!)] as const;
    const loss = losses[0].add(losses[1].mul(vfCoef!));
    const equal = (got: Tensor, wanted: Fixed | undefined) =>
      expectEqual(backend.peek(got.operand), wanted!, 1e-6);
    equal(losses[0], outputs.policy);
    equal(losses[1], outputs.value);
    equal(loss, outputs.loss);
    equal(mean(policy.clipped, terms.mask!), outputs.policyClipped);
    equal(mean(value.clipped, terms.maskP1!), outputs.valueClipped);
    engine.backward(loss);
    equal(terms.logProbs!.grad!, grads.logProbs);
    equal(terms.values!.grad!, grads.values);
  });

  it('has the gradients of finite differences', () => {
    const at = (...values: number[]) => ({ shape: [values.length], values });
    const constant = (engine: Engine, ...values: number[]) =>
      engine.tensor(Float32Array.from(values), [values.length]);
    expect(
      checkGradients(
        ([logProbs, values], engine) => {
          const zeros = constant(engine, 0, 0, 0, 0);
          const advantages = constant(engine, 1, -1, 2, -0.5);
          const policy = ppoPolicyLoss(
            { logProbs: logProbs!, oldLogProbs: zeros, advantages },
            0.2,
          );
          const returns = constant(engine, 0.3, -0.4, 1.2, 0);
          const value = ppoValueLoss({ values: values!, oldValues: zeros, returns }, 0.2);
          return policy.losses.add(value.losses);
        },
        [at(0.5, -0.5, 0.1, 0.4), at(0.1, -0.3, 0.5, -0.1)],
      ),
    ).toMatchObject({ ok: true });
  });
});

describe('row 89: what tokens are rewarded with', () => {
  it.each(cases('row89-ppo-rewards'))('$name', ({ inputs, attrs, outputs }) => {
    const { estimator, missingEosPenalty, stopTokenId, eosTokenId, klCoef } = attrs as unknown as {
      readonly estimator: KlEstimator;
      readonly missingEosPenalty: number | null;
      readonly stopTokenId: number | null;
      readonly eosTokenId: number;
      readonly klCoef: number;
    };
    const [width, padding] = [inputs.responses!.shape[1]!, 0];
    const stopIds = new Set(stopTokenId === null ? [] : [stopTokenId]);
    const answers = rowsOf(inputs.responses!).map((ids) =>
      truncateAnswer(
        ids.slice(0, ids.indexOf(padding) === -1 ? width : ids.indexOf(padding)),
        stopIds,
      ),
    );
    const [logProbs, refLogProbs] = [rowsOf(inputs.logProbs!), rowsOf(inputs.refLogProbs!)];
    const scores = answers.map((ids, i) =>
      penalised(inputs.scores!.data[i]!, ids.includes(eosTokenId), missingEosPenalty),
    );
    const rewarded = answers.map(({ length }, i) =>
      ppoRewards(
        {
          logProbs: logProbs[i]!.slice(0, length),
          refLogProbs: refLogProbs[i]!.slice(0, length),
          score: scores[i]!,
        },
        { klCoef, estimator, width },
      ),
    );
    const padded = (row: ArrayLike<number>) =>
      [...Array.from(row), ...Array(width).fill(0)].slice(0, width);
    expectEqual(answers.flatMap(padded), outputs.answers!);
    expectEqual(
      answers.map(({ length }) => length),
      outputs.lengths!,
    );
    expectEqual(scores, outputs.scores!);
    expectEqual(
      rewarded.flatMap(({ rewards }) => padded(rewards)),
      outputs.rewards!,
    );
    expectEqual(
      rewarded.map(({ kl }) => kl),
      outputs.kl!,
    );
  });
});

describe('row 90: the KL coefficient', () => {
  it.each(cases('row90-adaptive-kl'))('follows the target: $name', ({ attrs, outputs }) => {
    const { initial, groups, ...target } = attrs as unknown as {
      readonly initial: number;
      readonly targetKl: number;
      readonly horizon: number;
      readonly groups: readonly [kl: number, answers: number][];
    };
    const controller = klController(initial, target);
    const got = groups.map(([kl, answers]) => {
      controller.update(kl, answers);
      return controller.coefficient;
    });
    expectEqual(got, { shape: [got.length], data: outputs.coefficients as never });
    expect(controller.state).toEqual({ klCoef: got.at(-1) }); // what a checkpoint holds
  });

  it('stays where there is no target', () => {
    const controller = klController(0.05, null);
    controller.update(1000, 64);
    expect(controller.coefficient).toBe(0.05);
  });
});
