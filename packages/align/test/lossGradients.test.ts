import {
  bradleyTerry,
  cpoLosses,
  cpoLossTypes,
  type DivergenceType,
  type DpoLossType,
  divergenceTypes,
  dpoLossTypes,
  klBaseline,
  ktoLosses,
  log1mexp,
  oddsRatio,
  type PairLogProbs,
  type PairLossOptions,
  pairLosses,
} from '@attune/align';
import type { Engine, Tensor } from '@attune/core';
import { checkGradients } from '@attune/core/testing';
import { describe, expect, it } from 'vitest';

// Central differences in float64, at points where the losses are smooth.

const chosen = [-10.3, -4.4, -25.1, -7.7];
const rejected = [-12.1, -3.6, -24.4, -18.2];
const refChosen = [-11.2, -5.1, -22.3, -7.9];
const refRejected = [-11.5, -3.1, -25.2, -14.6];
const counts = [4, 2, 11, 5];

const vector = (values: readonly number[]) => ({ shape: [values.length], values });
const constant = (engine: Engine, values: readonly number[]) =>
  engine.tensor(Float32Array.from(values), [values.length]);

/** Differentiates by the policy's log-probabilities; the reference is a constant. */
function checkPairLoss(name: DpoLossType, options: PairLossOptions) {
  return checkGradients(
    ([w, l], engine) => {
      const x: PairLogProbs = {
        chosen: w!,
        rejected: l!,
        refChosen: constant(engine, refChosen),
        refRejected: constant(engine, refRejected),
        chosenCounts: constant(engine, counts),
        rejectedCounts: constant(engine, [...counts].reverse()),
      };
      return pairLosses[name](x, options);
    },
    [vector(chosen), vector(rejected)],
  );
}

describe('gradients of pair losses', () => {
  it.each(dpoLossTypes)('%s', (name) => {
    const result = checkPairLoss(name, { beta: 0.3, labelSmoothing: 0.1 });
    expect(result).toMatchObject({ ok: true });
  });

  it.each(divergenceTypes)('sigmoid under %s', (fDivergenceType: DivergenceType) => {
    const options = { beta: 0.3, fDivergenceType, fAlphaDivergenceCoef: 0.7 };
    expect(checkPairLoss('sigmoid', options)).toMatchObject({ ok: true });
    expect(checkPairLoss('ipo', options)).toMatchObject({ ok: true });
  });
});

describe('gradients of other losses', () => {
  it.each(cpoLossTypes)('cpo %s, also with alpha', (lossType) => {
    for (const alpha of [0, 0.25, -0.5])
      expect(
        checkGradients(
          ([w, l]) =>
            cpoLosses(
              { chosen: w!, rejected: l! },
              { beta: 0.7, lossType, alpha, labelSmoothing: 0.1 },
            ).losses,
          [vector([-0.5, -1.2, -3.4]), vector([-1, -0.8, -2.1])],
        ),
      ).toMatchObject({ ok: true });
  });

  it('kto, whose baseline has no gradient', () => {
    const mismatched = [0.4, 0.9, -0.2, 0.3];
    const result = checkGradients(
      ([u], engine) =>
        ktoLosses(
          {
            logRatios: u!,
            labels: constant(engine, [1, 0, 0, 1]),
            baseline: klBaseline(constant(engine, mismatched)).kl,
          },
          { beta: 0.3, desirableWeight: 1.2, undesirableWeight: 0.8 },
        ),
      [vector([1, -0.5, 2, -3])],
    );
    expect(result).toMatchObject({ ok: true });
  });

  it('odds ratio and log1mexp on both sides of -ln 2', () => {
    const points = [-0.01, -0.3, -0.6, -0.8, -2, -9];
    const by = ([w, l]: readonly Tensor[]) => oddsRatio(w!, l!).ratio;
    const steps = { step: 1e-6, tolerance: 1e-6 };
    expect(checkGradients(([x]) => log1mexp(x!), [vector(points)], steps)).toMatchObject({
      ok: true,
    });
    expect(
      checkGradients(by, [vector(points), vector([...points].reverse())], steps),
    ).toMatchObject({ ok: true });
  });

  it('Bradley-Terry with margins and centring', () => {
    const result = checkGradients(
      ([w, l], engine) =>
        bradleyTerry(
          { chosen: w!, rejected: l! },
          { margins: constant(engine, [0.5, 0, 2]), centerRewardsCoefficient: 0.01 },
        ),
      [vector([1.2, -0.3, 4]), vector([0.3, 0.8, 1])],
    );
    expect(result).toMatchObject({ ok: true });
  });
});
