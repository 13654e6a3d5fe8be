import {
  defineCallback,
  EarlyStoppingCallback,
  ProgressCallback,
  type TrainerCallback,
} from '@attune/core';
import { callbackKit } from '@attune/core/testing';
import { describe, expect, test } from 'vitest';

const stream = { write: () => undefined };
for (const { name, run } of callbackKit(() => new ProgressCallback(stream))) test(name, run);
for (const { name, run } of callbackKit(
  () => new EarlyStoppingCallback({ earlyStoppingPatience: 9, earlyStoppingThreshold: 100 }),
  { args: { metricForBestModel: 'loss' } },
))
  test(name, run);

/** Counts updates and keeps the count, with one mistake or none. */
class Counter implements TrainerCallback {
  protected count = 0;
  onStepEnd(): void {
    this.count++;
  }
  exportState(): Record<string, unknown> {
    return { count: this.count };
  }
  importState({ count }: Readonly<Record<string, unknown>>): void {
    this.count = count as number;
  }
}
let shared = 0;

describe('the kit', () => {
  /** What the first check that fails says. */
  const failure = async (make: () => TrainerCallback) => {
    for (const { run } of callbackKit(make))
      try {
        await run();
      } catch (error) {
        return (error as Error).message;
      }
    return '';
  };

  test('passes a sound callback', async () => {
    expect(await failure(() => new Counter())).toBe('');
  });

  test.each<[string, () => TrainerCallback, RegExp]>([
    ['one without a name', () => defineCallback({}), /it has no name/],
    [
      'state that begins again with a run',
      () =>
        new (class Counter2 extends Counter {
          onTrainBegin() {
            this.count = 0;
          }
        })(),
      /after a resumed run its state is \{"count":2\}, not \{"count":4\}/,
    ],
    [
      'state that is no JSON',
      () =>
        new (class Counter3 extends Counter {
          override exportState() {
            return { count: Number.NaN };
          }
        })(),
      /as JSON its state is \{"count":null\}/,
    ],
    [
      'state that several share',
      () =>
        new (class Counter4 extends Counter {
          override onStepEnd() {
            this.count = ++shared;
          }
        })(),
      /its state is/,
    ],
    [
      'one that needs a run',
      () =>
        new (class Counter5 extends Counter {
          onEvaluate({ state }: Parameters<NonNullable<TrainerCallback['onEvaluate']>>[0]) {
            if (!state.logHistory.some((row) => 'loss' in row)) throw new Error('no row yet');
          }
        })(),
      /CALLBACK_FAILED[\s\S]*no row yet/,
    ],
  ])('finds %s', async (_, make, message) => {
    expect(await failure(make)).toMatch(message);
  });
});
