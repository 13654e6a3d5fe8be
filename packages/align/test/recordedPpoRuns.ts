import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { PPOTrainer, type PpoStep } from '@attune/align';
import {
  type Attune,
  AutoModelForCausalLM,
  AutoModelForSequenceClassification,
} from '@attune/core';
import { PeftModel } from '@attune/peft';
import { expect } from 'vitest';

const fixtures = join(import.meta.dirname, '../../../parity/fixtures');

/** A run of TRL 1.12's PPOTrainer with recorded answers (parity/rows_align_ppo.py). */
export interface PpoRun {
  readonly name: string;
  readonly valueModel: string | null;
  readonly settings: Readonly<Record<string, unknown>>;
  readonly groups: readonly {
    readonly prompts: readonly number[][];
    readonly completions: readonly number[][];
    readonly scores: readonly number[];
  }[];
  readonly updates: readonly { readonly loss: number; readonly gradNorm: number }[];
  readonly logs: readonly Readonly<Record<string, number>>[];
}

export const ppoRuns = (): readonly PpoRun[] =>
  JSON.parse(readFileSync(join(fixtures, 'ppo-runs.json'), 'utf8')).cases;

/** Relative, the loss with a floor of 0.1. */
export interface PpoTolerance {
  readonly loss: number;
  readonly gradNorm: number;
  readonly metrics: number;
  /** Tokens that may be on the other side of a clip, as a share of the tokens of a group. */
  readonly clipped: number;
}

/** Means over padding too in TRL, or defined otherwise: see PPOTrainer. */
const differs = ['policy/approxkl_avg', 'policy/entropy_avg', 'val/ratio', 'val/ratio_var'];

/** Trains as TRL did, and compares each update and each row of the log. */
export async function followPpoRun(
  { valueModel, settings, groups, updates, logs }: PpoRun,
  attune: Attune,
  outputDir: string,
  tolerance: PpoTolerance,
): Promise<void> {
  const close = (got: unknown, wanted: number, allowed: number, what: string) =>
    expect(Math.abs(Number(got) - wanted), `${what}: ${got}, TRL ${wanted}`).toBeLessThanOrEqual(
      allowed,
    );
  const model = (folder: string) => [join(fixtures, folder), { attune, dtype: 'float32' }] as const;
  const base = await AutoModelForCausalLM.fromPretrained(...model('tiny-llama'));
  const policy = await PeftModel.fromPretrained(base, join(fixtures, 'lora-run-tiny/initial'), {
    isTrainable: true,
  });
  let group = 0;
  const ppo = new PPOTrainer({
    policy,
    prompts: groups.flatMap(({ prompts }) => prompts.map((prompt_ids) => ({ prompt_ids }))),
    rollout({ promptIds }) {
      const { prompts, completions } = groups[group++]!;
      expect(promptIds.map((ids) => [...ids])).toEqual(prompts);
      return { completionIds: completions };
    },
    reference: 'base',
    rewardFuncs: ({ completionIds }) =>
      completionIds.map((ids) => ids.filter((id) => id % 2 === 0).length / ids.length),
    ...(valueModel && {
      valueModel: await AutoModelForSequenceClassification.fromPretrained(...model(valueModel)),
    }),
    args: {
      ...settings,
      outputDir,
      numTrainEpochs: 1,
      shuffle: false,
      lrSchedulerType: 'constant',
      loggingSteps: 1,
      maxGradNorm: 0,
      saveStrategy: 'no',
      reportTo: 'none',
    } as never,
  });
  const stats: PpoStep[] = [];
  for await (const step of ppo.steps()) stats.push(step);
  const seen = ppo.state.logHistory.filter(({ loss }) => loss !== undefined);
  expect(seen).toHaveLength(updates.length);
  updates.forEach(({ loss, gradNorm }, i) => {
    close(seen[i]!.loss, loss, tolerance.loss * Math.max(Math.abs(loss), 0.1), `loss ${i}`);
    close(seen[i]!.gradNorm, gradNorm, tolerance.gradNorm * gradNorm, `gradient norm ${i}`);
  });
  const each = updates.length / logs.length;
  logs.forEach((log, g) => {
    expect(stats[g]!.episode).toBe(log.episode);
    expect(stats[g]!.lr).toBe(log.lr);
    const own = seen.slice(g * each, (g + 1) * each);
    for (const [name, wanted] of Object.entries(log)) {
      if (differs.includes(name) || !name.includes('/')) continue;
      const known = own.flatMap((row) => row[name] ?? []) as number[];
      const mean = known.reduce((a, b) => a + b, 0) / known.length;
      const counted = name.includes('clipfrac') ? tolerance.clipped : 0;
      const allowed = tolerance.metrics * Math.max(Math.abs(wanted), 1e-3) + counted;
      close(mean, wanted, allowed, `${name} of group ${g}`);
    }
  });
}
