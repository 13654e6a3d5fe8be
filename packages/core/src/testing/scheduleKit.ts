import { z } from 'zod';
import type {
  MetricScheduleDefinition,
  ScheduleDefinition,
  ScheduleRun,
  StepScheduleDefinition,
} from '../optim/scheduleDefinition.js';
import { type OptionsInput, parseOptions } from '../util/options.js';
import { type KitCheck, kitOf } from './kit.js';

const kitShape = {
  /** `lrSchedulerKwargs`, camelCase. Default none. */
  options: z.custom<Readonly<Record<string, unknown>>>().optional(),
};
const kitOptions = z.strictObject(kitShape);

/** Options of the kit for schedules. */
export type ScheduleKitOptions = OptionsInput<typeof kitShape>;

const runs: readonly ScheduleRun[] = [
  { learningRate: 1e-3, warmupSteps: 0, totalSteps: 100 },
  { learningRate: 1e-3, warmupSteps: 10, totalSteps: 100 },
  { learningRate: 1, warmupSteps: 30, totalSteps: 61 },
];

/**
 * What every learning-rate schedule must do, as checks for any test framework:
 *
 *     for (const { name, run } of scheduleKit(definition, { options })) test(name, run);
 *
 * Unknown options are refused. A rate is finite and not negative at every update. A schedule that
 * follows updates depends on the update alone, so that a resumed run has the rates of the
 * uninterrupted one; one that follows a metric goes on from its exported state. Two runs do not
 * meet.
 */
export function scheduleKit(
  definition: ScheduleDefinition,
  options: ScheduleKitOptions = {},
): KitCheck[] {
  parseOptions(kitOptions, options, { where: 'scheduleKit' });
  const { check, rejected } = kitOf(`schedule "${definition.name}"`);
  const read = () => definition.options.parse(options.options ?? {});
  const strict = check('an option that it does not have is refused', async () => {
    await rejected(
      'an unknown option',
      () => definition.options.parse({ ...options.options, 'no such option': 1 }),
      'Make options a z.strictObject({ ... }).',
    );
  });
  return definition.follows === 'metric'
    ? [strict, ...metricChecks(definition, read)]
    : [strict, ...stepChecks(definition, read)];
}

function stepChecks(
  definition: StepScheduleDefinition,
  read: () => Readonly<Record<string, unknown>>,
): KitCheck[] {
  const { check, fail } = kitOf(`schedule "${definition.name}"`);
  return runs.flatMap((run) => {
    const { warmupSteps, totalSteps } = run;
    const where = `${warmupSteps} of ${totalSteps} updates are warmup`;
    // The rate of the summary is asked for after the last update.
    const steps = Array.from({ length: totalSteps + 1 }, (_, step) => step);
    const factors = () => {
      const schedule = definition.create(run, read());
      return steps.map(schedule);
    };
    return [
      check(`every factor is finite and not negative, where ${where}`, () => {
        factors().forEach((factor, step) => {
          if (!(Number.isFinite(factor) && factor >= 0))
            fail(
              `the factor of update ${step} is ${factor}, where ${where}`,
              'Look for a division by zero, and clamp it to 0.',
            );
        });
      }),
      check(`the update alone decides, where ${where}`, () => {
        const expected = factors();
        const backwards = definition.create(run, read());
        for (const step of [...steps].reverse()) {
          const again = backwards(step);
          if (again !== expected[step])
            fail(
              `update ${step} has the factor ${expected[step]}, and ${again} when asked for in another order`,
              'Compute it from the update that is given, not from how often it was asked.',
            );
        }
      }),
    ];
  });
}

const metrics = [3, 2.5, 2.5, 2.6, 2.4, 2.4, 2.4, 2.4, 2.4, 2.4, 2.4, 2.4, 2.4, 2.4, 2.4, 1];

function metricChecks(
  definition: MetricScheduleDefinition,
  read: () => Readonly<Record<string, unknown>>,
): KitCheck[] {
  const { check, fail } = kitOf(`schedule "${definition.name}"`);
  const run = { learningRate: 1e-3, mode: 'min' } as const;
  const make = () => definition.create(run, read());
  const rates = () => {
    const schedule = make();
    return metrics.map((metric) => {
      schedule.observe(metric);
      return schedule.learningRate;
    });
  };
  return [
    check('starts at the learning rate of the run', () => {
      const { learningRate } = make();
      if (learningRate !== run.learningRate)
        fail(`starts at ${learningRate}, not ${run.learningRate}`, 'Start at run.learningRate.');
    }),
    check('every rate is finite and not negative', () => {
      for (const rate of rates())
        if (!(Number.isFinite(rate) && rate >= 0))
          fail(`a rate is ${rate}`, 'Look for a division by zero, and clamp it to 0.');
    }),
    check('goes on from its exported state', () => {
      let held = make();
      const expected = rates();
      metrics.forEach((metric, i) => {
        held.observe(metric);
        const state = JSON.parse(JSON.stringify(held.exportState()));
        held = make();
        held.importState(state);
        if (held.learningRate !== expected[i])
          fail(
            `after evaluation ${i + 1} the rate is ${expected[i]}, and ${held.learningRate} when the run was resumed after each`,
            'Put everything that changes into exportState, in values that JSON has.',
          );
      });
    }),
    check('two runs do not meet', () => {
      const alone = rates();
      const [one, other] = [make(), make()];
      metrics.forEach((metric, i) => {
        one.observe(metric);
        if (one.learningRate !== alone[i])
          fail('a second run changes the rate of the first', 'Hold no state outside the object.');
        other.observe(-metric);
      });
    }),
  ];
}
