import { defineSchedule } from '@attune/core';
import { scheduleKit } from '@attune/core/testing';
import {
  metricSchedule,
  resolveWarmupSteps,
  type ScheduleDefinition,
  type StepSchedulerType,
  schedule,
} from '@attune/core/training';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { builtinSchedules } from '../../src/optim/builtinSchedules.js';
import { fixtureJson, numbers } from './support.js';

interface Case {
  name: string;
  attrs: {
    schedule: StepSchedulerType;
    learningRate?: number;
    warmupSteps: number;
    totalSteps: number;
  };
  outputs: { steps: { data: number[] }; factors: { data: number[] } };
}

for (const [row, tolerance] of [
  ['row22-schedules-linear', 0],
  ['row23-schedules-cosine', 1e-15],
  ['row24-schedules-restarts', 1e-15],
  ['row25-schedules-other', 1e-15],
] as const)
  describe(`${row}: transformers.optimization`, () => {
    for (const { name, attrs, outputs } of fixtureJson(`${row}.json`).cases as Case[])
      test(name, () => {
        const { schedule: type, ...options } = attrs;
        const factor = schedule(type, { learningRate: 1, ...options });
        outputs.steps.data.forEach((step, i) => {
          expect(Math.abs(factor(step) - outputs.factors.data[i]!)).toBeLessThanOrEqual(tolerance);
        });
      });
  });

describe('row 25: rates that follow a metric', () => {
  for (const { name, inputs, attrs, outputs } of fixtureJson('row25-schedules-metric.json').cases)
    test(`${name}, also when its state goes out and comes back`, () => {
      const { schedule: type, ...options } = attrs;
      let held = metricSchedule(type, options);
      const rates = numbers(outputs.rates);
      numbers(inputs.metrics).forEach((value, i) => {
        held.observe(value);
        expect(Math.abs(held.learningRate - rates[i]!)).toBeLessThanOrEqual(1e-12 * rates[i]!);
        const state = JSON.parse(JSON.stringify(held.exportState()));
        held = metricSchedule(type, options);
        held.importState(state);
      });
    });
});

test('row 30: the rate of each update, the first with warmup 0', () => {
  for (const { attrs, outputs } of fixtureJson('row30-learning-rate-logged.json').cases) {
    const warmupSteps = resolveWarmupSteps(
      { warmupSteps: attrs.warmupGiven, warmupRatio: 0 },
      attrs.maxSteps,
    );
    expect(warmupSteps).toBe(attrs.warmupSteps);
    const factor = schedule(attrs.lrSchedulerType, {
      warmupSteps,
      totalSteps: attrs.maxSteps,
      learningRate: attrs.learningRate,
    });
    (outputs.learningRatePerUpdate as number[]).forEach((rate, step) => {
      expect(attrs.learningRate * factor(step)).toBeCloseTo(rate, 15);
    });
  }
});

const at = (type: StepSchedulerType, steps: number[], more: object = {}) => {
  const factor = schedule(type, { warmupSteps: 10, totalSteps: 110, learningRate: 0.1, ...more });
  return steps.map((step) => Number(factor(step).toFixed(10)));
};

test('restarts begin again at 1 and end at 0', () => {
  expect(at('cosine_with_restarts', [0, 5, 10, 60, 110], { numCycles: 2 })).toEqual([
    0, 0.5, 1, 1, 0,
  ]);
});

test('cosine_with_min_lr ends at the least rate, as a rate or as a share', () => {
  expect(at('cosine_with_min_lr', [10, 60, 110], { minLr: 0.02 })).toEqual([1, 0.6, 0.2]);
  expect(at('cosine_with_min_lr', [110], { minLrRate: 0.2 })).toEqual([0.2]);
  expect(() => at('cosine_with_min_lr', [0])).toThrow(/minLr/);
});

test('polynomial falls to lrEnd and stays there', () => {
  expect(at('polynomial', [10, 60, 110, 200], { lrEnd: 0.01, power: 2 })).toEqual([
    1, 0.325, 0.1, 0.1,
  ]);
  expect(() => at('polynomial', [0], { lrEnd: 1 })).toThrow(/SCHEDULE_INVALID/);
});

test('inverse_sqrt joins its warmup at 1', () => {
  expect(at('inverse_sqrt', [5, 10, 40, 90])).toEqual([0.5, 1, 0.5, Number((1 / 3).toFixed(10))]);
});

test('a warmup ratio is rounded up; steps come before it', () => {
  expect(resolveWarmupSteps({ warmupSteps: 0, warmupRatio: 0.05 }, 61)).toBe(4);
  expect(resolveWarmupSteps({ warmupSteps: 3, warmupRatio: 0.5 }, 60)).toBe(3);
});

const needed: Readonly<Record<string, object>> = {
  cosine_with_min_lr: { minLrRate: 0.1 },
  cosine_warmup_with_min_lr: { minLr: 1e-4 },
  warmup_stable_decay: { numDecaySteps: 5 },
};

describe.each(builtinSchedules)('$name', (definition) => {
  const options = { ...needed[definition.name] };
  for (const { name, run } of scheduleKit(definition, { options })) test(name, run);
});

describe('the kit of schedules', () => {
  const options = z.strictObject({});
  const failures = async (definition: ScheduleDefinition) => {
    const found: string[] = [];
    for (const { run } of scheduleKit(definition))
      await run().catch((error) => found.push((error as Error).message));
    return found.join('\n');
  };

  test('finds a rate that counts its own calls', async () => {
    const counting = defineSchedule({
      name: 'counting',
      follows: 'updates',
      options,
      create: () => {
        let calls = 0;
        return () => 1 / ++calls;
      },
    });
    expect(await failures(counting)).toMatch(/update 100 has the factor .* in another order/);
  });

  test('finds a division by zero, and options that are not checked', async () => {
    const byWarmup = defineSchedule({
      name: 'by-warmup',
      follows: 'updates',
      options: z.object({}),
      create:
        ({ warmupSteps }) =>
        (step) =>
          step / warmupSteps,
    });
    expect(await failures(byWarmup)).toMatch(/an unknown option is taken.*update 0 is NaN/s);
  });

  test('finds state that a checkpoint does not hold', async () => {
    const forgetful = defineSchedule({
      name: 'forgetful',
      follows: 'metric',
      options,
      create: (run) => {
        let { learningRate } = run;
        return {
          get learningRate() {
            return learningRate;
          },
          observe: () => {
            learningRate /= 2;
          },
          exportState: () => ({}),
          importState: () => {},
        };
      },
    });
    expect(await failures(forgetful)).toMatch(/when the run was resumed after each/);
  });
});
