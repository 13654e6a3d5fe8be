import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  GRPOTrainer,
  type GrpoArgumentsInput,
  type GrpoTrainerOptions,
  type RewardFunction,
  type RewardInput,
  RLOOTrainer,
  type RlooTrainerOptions,
  type RolloutFunction,
} from '@attune/align';
import { AutoTokenizer, type ChatMessage, type TrainLogs } from '@attune/core';
import { snakeToCamel } from '@attune/core/util';
import { expect } from 'vitest';
import { fixture, fixtures } from './fixtures.js';
import { camelMetric } from './policy.support.js';

/** A run of TRL with recorded completions. */
export interface RecordedRun {
  readonly name: string;
  readonly method: 'grpo' | 'rloo';
  /** What rows are: ids, texts, or conversations. */
  readonly kind: 'ids' | 'text' | 'chat';
  readonly lora: boolean;
  readonly functions: readonly (keyof typeof rewards)[];
  readonly settings: Readonly<Record<string, unknown>>;
  readonly trace: readonly Readonly<Record<string, number | string | null>>[];
}

export interface RecordedRuns {
  readonly prompts: readonly (readonly number[])[];
  readonly rollouts: readonly (readonly (readonly number[])[])[];
  readonly cases: readonly RecordedRun[];
}

export const recordedRuns = (): RecordedRuns => fixture<RecordedRuns>('align-grpo/runs.json');

const rewards = {
  even: ({ completionIds }: RewardInput) =>
    completionIds.map((ids) => ids.filter((id) => id % 2 === 0).length / ids.length),
  ones: ({ completions }: RewardInput) =>
    completions.map((completion: string | readonly ChatMessage[]) => {
      const text = typeof completion === 'string' ? completion : String(completion[0]!.content);
      const words = text.split(' ').filter((word) => word !== '');
      return words.filter((word) => word.startsWith('w1')).length / Math.max(words.length, 1);
    }),
  short: ({ completionIds }: RewardInput) =>
    completionIds.map((ids) => (ids.length <= 6 ? 1 / ids.length : null)),
} satisfies Record<string, RewardFunction>;

/** Loss: relative to the larger of it and 0.1. Others relative. */
export interface RunTolerance {
  readonly loss: number;
  readonly gradNorm: number;
  readonly metrics: number;
}
export const onReference: RunTolerance = { loss: 1e-4, gradNorm: 1e-3, metrics: 1e-3 };

function rowOf(kind: RecordedRun['kind'], ids: readonly number[]): object {
  if (kind === 'ids') return { input_ids: ids };
  const text = ids.map((id) => `w${id}`).join(' ');
  return { prompt: kind === 'text' ? text : [{ role: 'user', content: text }] };
}

/** The same run by our trainer, from the same start. */
export async function followPolicyRun(
  run: RecordedRun,
  { prompts, rollouts }: RecordedRuns,
  model: GrpoTrainerOptions['model'],
  tolerance: RunTolerance = onReference,
): Promise<void> {
  let drawn = 0;
  const rollout: RolloutFunction = ({ promptIds, numGenerations }) => ({
    completionIds: rollouts[drawn++]!.slice(0, promptIds.length * numGenerations),
  });
  const settings = Object.fromEntries(
    Object.entries(run.settings).map(([name, value]) => [snakeToCamel(name), value]),
  );
  const options: GrpoTrainerOptions & RlooTrainerOptions = {
    model,
    trainDataset: prompts.map((ids) => rowOf(run.kind, ids)),
    tokenizer:
      run.kind === 'ids'
        ? null
        : await AutoTokenizer.fromPretrained(join(fixtures, 'align-grpo/tokenizer')),
    rewardFuncs: run.functions.map((name) => rewards[name]),
    rollout,
    args: {
      outputDir: await mkdtemp(join(tmpdir(), 'attune-policy-')),
      saveStrategy: 'no',
      shuffle: false,
      loggingSteps: 1,
      maxCompletionLength: 8,
      ...(settings as GrpoArgumentsInput & object),
    },
  };
  const trainer = run.method === 'rloo' ? new RLOOTrainer(options) : new GRPOTrainer(options);
  const logs: TrainLogs[] = [];
  trainer.on('log', ({ logs: row }) => {
    if ('loss' in row) logs.push(row);
  });
  await trainer.train();
  expect(logs).toHaveLength(run.trace.length);
  const problems: string[] = [];
  run.trace.forEach((expected, step) => {
    for (const [name, value] of Object.entries(expected)) {
      if (typeof value !== 'number') continue;
      const found = logs[step]![camelMetric(name)];
      const bound =
        name === 'loss'
          ? tolerance.loss * Math.max(Math.abs(value), 0.1)
          : name === 'grad_norm'
            ? tolerance.gradNorm * Math.abs(value) + 1e-5
            : tolerance.metrics * Math.abs(value) + 1e-5;
      if (found === undefined || !(Math.abs(found - value) <= bound))
        problems.push(`update ${step + 1}: ${name} is ${found}, TRL has ${value}`);
    }
  });
  expect(problems).toEqual([]);
}
