import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type DistillationArgumentsInput,
  DistillationTrainer,
  type RolloutFunction,
} from '@attune/align';
import { type Attune, AutoModelForCausalLM, IGNORE_INDEX, type TrainLogs } from '@attune/core';
import { expect } from 'vitest';
import { fixture, fixtures } from './fixtures.js';

export const load = (attune: Attune, name = 'tiny-llama') =>
  AutoModelForCausalLM.fromPretrained(join(fixtures, name), { attune, dtype: 'float32' });
export const teacherOf = (attune: Attune) => load(attune, 'tiny-llama-tied');

/** Runs of TRL's GKDTrainer and DistillationTrainer. */
interface Recorded {
  readonly tolerance: { readonly reference: { readonly loss: number; readonly gradNorm: number } };
  readonly sets: {
    readonly rows: readonly {
      readonly prompt_ids: readonly number[];
      readonly completion_ids: readonly number[];
    }[];
  };
  readonly cases: readonly {
    readonly name: string;
    readonly trainer: 'GKD' | 'Distillation';
    readonly args: DistillationArgumentsInput;
    readonly trace: Readonly<Record<string, readonly number[]>>;
  }[];
}
export const recorded = fixture<Recorded>('row421-distillation-runs.json');
const { rows } = recorded.sets;
export const prompts = rows.map(({ prompt_ids }) => ({ prompt_ids }));
export const completed = rows.map(({ prompt_ids, completion_ids }) => ({
  input_ids: [...prompt_ids, ...completion_ids],
  labels: [...prompt_ids.map(() => IGNORE_INDEX), ...completion_ids],
}));

export const outputDir = () => mkdtemp(join(tmpdir(), 'attune-distil-'));
export const args = async (
  own: DistillationArgumentsInput,
): Promise<DistillationArgumentsInput> => ({
  outputDir: await outputDir(),
  maxSteps: 8,
  perDeviceTrainBatchSize: 2,
  gradientAccumulationSteps: 2,
  learningRate: 1e-3,
  loggingSteps: 1,
  shuffle: false,
  saveStrategy: 'no',
  seed: 1,
  maxCompletionLength: 10,
  ...own,
});

export async function trained(trainer: DistillationTrainer): Promise<TrainLogs[]> {
  const logs: TrainLogs[] = [];
  trainer.on('log', ({ logs: row }) => {
    if ('loss' in row) logs.push(row);
  });
  await trainer.train();
  return logs;
}

/** The same run by our trainer. Loss: relative to the larger of it and 0.1; others relative. */
export async function followDistillation(
  run: Recorded['cases'][number],
  attune: Attune,
  within: { readonly loss: number; readonly gradNorm: number },
): Promise<void> {
  const isWritten = run.trainer === 'Distillation';
  const rollout: RolloutFunction = ({ promptIds }) => ({
    completionIds: promptIds.map(
      (ids) => rows.find(({ prompt_ids }) => prompt_ids.join() === [...ids].join())!.completion_ids,
    ),
  });
  const trainer = new DistillationTrainer({
    model: await load(attune),
    teacherModel: await teacherOf(attune),
    trainDataset: isWritten ? prompts : completed,
    ...(isWritten && { rollout }),
    args: await args(run.args),
  });
  const logs = await trained(trainer);
  const problems: string[] = [];
  for (const [name, values] of Object.entries(run.trace)) {
    if (name === 'numTokens') continue; // ours are counted by includeNumInputTokensSeen
    values.forEach((value, step) => {
      const found = logs[step]![name];
      const bound =
        name === 'loss'
          ? within.loss * Math.max(value, 0.1)
          : (name === 'gradNorm' ? within.gradNorm : 1e-3) * Math.abs(value);
      if (found === undefined || !(Math.abs(found - value) <= bound))
        problems.push(`update ${step + 1}: ${name} is ${found}, TRL has ${value}`);
    });
  }
  expect(logs).toHaveLength(8);
  expect(problems).toEqual([]);
}
