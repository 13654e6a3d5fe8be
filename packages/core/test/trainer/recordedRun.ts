import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type LanguageModel,
  SFTTrainer,
  type SftArgumentsInput,
  type TrainLogs,
} from '@attune/core';
import { expect } from 'vitest';

/** What the Trainer of transformers logged of an update. */
export interface Update {
  readonly loss: number;
  readonly gradNorm: number;
  readonly learningRate: number;
  readonly epoch?: number;
}

/** Options of the recorded run that are ours by the same names. */
const names = [
  'maxSteps',
  'perDeviceTrainBatchSize',
  'gradientAccumulationSteps',
  'learningRate',
  'lrSchedulerType',
  'warmupSteps',
  'weightDecay',
  'maxGradNorm',
] as const;

export const argumentsOf = (settings: Readonly<Record<string, unknown>>): SftArgumentsInput =>
  Object.fromEntries(names.filter((n) => n in settings).map((n) => [n, settings[n]]));

/**
 * So many updates of a variant of a recorded run: what is special about it shows in the first, and
 * how its state grows in the next. Full lengths are those of the plain runs.
 */
export const VARIANT_UPDATES = 6;

/**
 * Trains on rows in their order.
 *
 * @param count updates after which to stop; the schedule is that of the whole run. Default: all
 * @returns what was logged of each update
 */
export async function updatesOf(
  model: LanguageModel,
  data: Pick<ConstructorParameters<typeof SFTTrainer>[0], 'trainDataset' | 'tokenizer'>,
  args: SftArgumentsInput,
  count = Number.POSITIVE_INFINITY,
): Promise<TrainLogs[]> {
  const updates: TrainLogs[] = [];
  const trainer = new SFTTrainer({
    model,
    ...data,
    callbacks: [
      {
        onStepEnd({ state, control }) {
          if (state.globalStep >= count) control.shouldTrainingStop = true;
        },
      },
    ],
    args: {
      outputDir: await mkdtemp(join(tmpdir(), 'attune-run-')),
      saveStrategy: 'no',
      shuffle: false,
      loggingSteps: 1,
      ...args,
    },
  });
  trainer.on('log', ({ logs }) => {
    if ('gradNorm' in logs) updates.push(logs as TrainLogs);
  });
  await trainer.train();
  return updates;
}

/** Expects update by update what was recorded, relatively; learning rates and epochs to 1e-9. */
export function expectUpdates(
  ours: readonly TrainLogs[],
  recorded: readonly Update[],
  within: { readonly loss: number; readonly gradNorm: number } = { loss: 1e-4, gradNorm: 1e-3 },
): void {
  expect(ours).toHaveLength(recorded.length);
  for (const [i, theirs] of recorded.entries())
    for (const key of ['loss', 'gradNorm', 'learningRate', 'epoch'] as const) {
      const expected = theirs[key];
      if (expected === undefined) continue;
      const bound = key === 'loss' || key === 'gradNorm' ? within[key] : 1e-9;
      const apart = Math.abs(ours[i]![key] - expected);
      expect(apart, `${key} of update ${i + 1}`).toBeLessThanOrEqual(
        bound * Math.abs(expected) + 1e-12,
      );
    }
}
