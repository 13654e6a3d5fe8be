import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { align, PPOTrainer, type PpoStep } from '@attune/align';
import {
  AutoModelForCausalLM,
  AutoModelForSequenceClassification,
  createAttune,
  silentLogger,
} from '@attune/core';
import { PeftModel, peft } from '@attune/peft';
import { expect, it, onTestFinished } from 'vitest';

// Runs of TRL 1.12's PPOTrainer with recorded answers (parity/rows_align_ppo.py).

const fixtures = join(import.meta.dirname, '../../../parity/fixtures');

interface Run {
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

const { cases } = JSON.parse(await readFile(join(fixtures, 'ppo-runs.json'), 'utf8')) as {
  readonly cases: readonly Run[];
};

/** Means over padding too in TRL, or defined otherwise: see PPOTrainer. */
const differs = ['policy/approxkl_avg', 'policy/entropy_avg', 'val/ratio', 'val/ratio_var'];

const close = (got: number | undefined, wanted: number, tolerance: number, floor = 0, what = '') =>
  expect(Math.abs(got! - wanted), `${what}: ${got}, TRL ${wanted}`).toBeLessThanOrEqual(
    tolerance * Math.max(Math.abs(wanted), floor),
  );

it.each(cases)('$name equals TRL', async ({ valueModel, settings, groups, updates, logs }) => {
  const outputDir = await mkdtemp(join(tmpdir(), 'attune-ppo-'));
  onTestFinished(() => rm(outputDir, { recursive: true, force: true }));
  await using attune = await createAttune({
    plugins: [peft(), align()],
    logger: silentLogger,
    backend: 'reference',
  });
  const base = await AutoModelForCausalLM.fromPretrained(join(fixtures, 'tiny-llama'), { attune });
  const adapter = join(fixtures, 'lora-run-tiny/initial');
  const policy = await PeftModel.fromPretrained(base, adapter, { isTrainable: true });
  let group = 0;
  const ppo = new PPOTrainer({
    policy,
    prompts: groups.flatMap(({ prompts }) => prompts.map((prompt_ids) => ({ prompt_ids }))),
    rollout: ({ promptIds }) => {
      const recorded = groups[group++]!;
      expect(promptIds.map((ids) => [...ids])).toEqual(recorded.prompts);
      return { completionIds: recorded.completions };
    },
    reference: 'base',
    rewardFuncs: ({ completionIds }) =>
      completionIds.map((ids) => ids.filter((id) => id % 2 === 0).length / ids.length),
    ...(valueModel && {
      valueModel: await AutoModelForSequenceClassification.fromPretrained(
        join(fixtures, valueModel),
        { attune },
      ),
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
  const seen: (typeof ppo.state.logHistory)[number][] = [];
  const stats: PpoStep[] = [];
  for await (const step of ppo.steps()) stats.push(step);
  seen.push(...ppo.state.logHistory.filter(({ loss }) => loss !== undefined));
  expect(seen).toHaveLength(updates.length);
  updates.forEach(({ loss, gradNorm }, i) => {
    close(Number(seen[i]!.loss), loss, 1e-4, 0.1);
    close(Number(seen[i]!.gradNorm), gradNorm, 1e-3);
  });
  const each = updates.length / logs.length;
  logs.forEach((log, g) => {
    expect(stats[g]!.episode).toBe(log.episode);
    expect(stats[g]!.lr).toBe(log.lr);
    const own = seen.slice(g * each, (g + 1) * each);
    for (const [name, wanted] of Object.entries(log)) {
      if (differs.includes(name) || !name.includes('/')) continue;
      const known = own
        .map((row) => row[name] as number | undefined)
        .filter((x) => x !== undefined);
      close(known.reduce((a, b) => a + b, 0) / known.length, wanted, 1e-3, 1e-3, name);
    }
  });
});
