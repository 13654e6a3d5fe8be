import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Alarm,
  AlignmentTrainer,
  align,
  CollapseCallback,
  CompletionsCallback,
  CutCompletionsCallback,
  DPOTrainer,
  defineAlignmentObjective,
  ExplanationsCallback,
  NoSpreadCallback,
  RewardHackingCallback,
  SaturationCallback,
  watchers,
} from '@attune/align';
import {
  AutoModelForCausalLM,
  type CallbackContext,
  createAttune,
  type Logger,
  silentLogger,
  type TrainerCallback,
} from '@attune/core';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';

type Rows = readonly Readonly<Record<string, number>>[];

/** A logger that keeps what it is told. */
function listening() {
  const infos: string[] = [];
  const warnings: string[] = [];
  const logger: Logger = {
    info: (message) => infos.push(message),
    warn: (message) => warnings.push(message),
    error: () => {},
  };
  return { infos, warnings, logger };
}

/** Logs rows to a callback as a run of `maxSteps` updates does, one row an update. */
async function logged(
  callback: TrainerCallback,
  rows: Rows,
  { maxSteps = 100, args = {} }: { readonly maxSteps?: number; readonly args?: object } = {},
) {
  const { infos, warnings, logger } = listening();
  const logHistory: object[] = [];
  const state = { globalStep: 0, maxSteps, logHistory };
  for (const row of rows) {
    const logs = { loss: 0.5, learningRate: 1e-3, gradNorm: 1, ...row };
    state.globalStep += 1;
    logHistory.push({ ...logs, step: state.globalStep, epoch: 0 });
    await callback.onLog!({ args, state, logger } as unknown as CallbackContext, logs);
  }
  return { infos, warnings };
}

/** `n` rows, each metric going evenly from its first value to its last. */
const from = (
  n: number,
  metrics: Readonly<Record<string, readonly [first: number, last: number]>>,
): Rows =>
  Array.from({ length: n }, (_, i) =>
    Object.fromEntries(
      Object.entries(metrics).map(([name, [a, b]]) => [name, a + ((b - a) * i) / (n - 1)]),
    ),
  );

interface Case {
  readonly make: () => Alarm;
  readonly rows: Rows;
  readonly args?: object;
  /** Parts of the one warning; null: there is none. */
  readonly says: readonly string[] | null;
}

const rising = { reward: [0.1, 0.9] } as const;
const cases: Readonly<Record<string, Case>> = {
  'the reward rises beyond the KL budget': {
    make: () => new RewardHackingCallback(),
    rows: from(10, { ...rising, 'objective/kl': [0, 40] }),
    says: ['from 0.189 to 0.544', '22.2 nats an answer, above the budget of 18', 'klCoef of PPO'],
  },
  'the reward rises within the budget': {
    make: () => new RewardHackingCallback(),
    rows: from(10, { ...rising, 'objective/kl': [0, 9] }),
    says: null,
  },
  'the KL is beyond the budget, and the reward does not rise': {
    make: () => new RewardHackingCallback(),
    rows: from(10, { reward: [0.5, 0.5], 'objective/kl': [0, 40] }),
    says: null,
  },
  'the reward rises with the length of answers': {
    make: () => new RewardHackingCallback(),
    rows: from(10, { ...rising, 'completions/mean_length': [20, 60] }),
    says: ['answers grew from', 'dr_grpo'],
  },
  'the reward rises, and answers are a little longer': {
    make: () => new RewardHackingCallback(),
    rows: from(10, { ...rising, 'completions/mean_length': [20, 26] }),
    says: null,
  },
  'one reward function pays for another': {
    make: () => new RewardHackingCallback(),
    rows: from(10, {
      ...rising,
      'rewards/polite/mean': [0.8, 0.1],
      'rewards/polite/std': [0.2, 0.2],
      'rewards/long/mean': [-0.7, 0.8],
      'rewards/long/std': [0.2, 0.2],
    }),
    says: ['that of "polite" fell', 'rewardWeights'],
  },
  'a budget of one’s own': {
    make: () => new RewardHackingCallback({ klBudget: 5 }),
    rows: from(10, { ...rising, 'objective/kl': [0, 9] }),
    says: ['above the budget of 5'],
  },
  'chosen answers become unlikely': {
    make: () => new CollapseCallback(),
    rows: from(10, { 'logps/chosen': [-50, -90], 'rewards/margins': [0, 4] }),
    says: ['from -54.4 to -67.8 nats, by 24 %', 'lossType: ["sigmoid", "sft"]'],
  },
  'chosen answers become a little less likely': {
    make: () => new CollapseCallback(),
    rows: from(10, { 'logps/chosen': [-50, -58], 'rewards/margins': [0, 4] }),
    says: null,
  },
  'chosen answers become unlikely without a margin': {
    make: () => new CollapseCallback(),
    rows: from(10, { 'logps/chosen': [-50, -90], 'rewards/margins': [1, 0] }),
    says: null,
  },
  'pairs are told apart at once': {
    make: () => new SaturationCallback(),
    rows: from(10, { loss: [0.7, 0.01], 'rewards/accuracies': [0.9, 1] }),
    says: ['100 % of the pairs', 'after 10 of 100 updates'],
  },
  'pairs are told apart in time': {
    make: () => new SaturationCallback(),
    rows: from(50, { loss: [0.7, 0.01], 'rewards/accuracies': [0.5, 1] }),
    says: null,
  },
  'most groups have no spread': {
    make: () => new NoSpreadCallback(),
    rows: from(3, { fracRewardZeroStd: [0.75, 0.75], reward: [0, 0] }),
    says: ['in 75 % of the groups', 'the same reward, 0 on average', 'numGenerations'],
  },
  'half of the groups have spread': {
    make: () => new NoSpreadCallback(),
    rows: from(9, { fracRewardZeroStd: [0.5, 0.5], reward: [0, 0] }),
    says: null,
  },
  'most completions are cut': {
    make: () => new CutCompletionsCallback(),
    rows: from(3, { 'completions/clipped_ratio': [0.9, 0.9] }),
    args: { maxCompletionLength: 64 },
    says: ['90 % of the completions', 'maxCompletionLength, 64 tokens'],
  },
  'most answers of PPO are cut': {
    make: () => new CutCompletionsCallback({ share: 0.2 }),
    rows: from(3, { 'completions/clipped_ratio': [0.3, 0.3] }),
    args: { maxNewTokens: 24 },
    says: ['30 % of the completions', 'maxNewTokens, 24 tokens'],
  },
  'few completions are cut': {
    make: () => new CutCompletionsCallback(),
    rows: from(9, { 'completions/clipped_ratio': [0.3, 0.3] }),
    says: null,
  },
};

describe('alarms', () => {
  for (const [name, { make, rows, args = {}, says }] of Object.entries(cases))
    test(`${name}: ${says ? 'one warning' : 'silence'}`, async () => {
      const alarm = make();
      // Twice as long: what was said is not said again.
      const { warnings, infos } = await logged(alarm, [...rows, ...rows.slice(-3)], { args });
      expect(infos).toEqual([]);
      if (says === null) {
        expect(warnings).toEqual([]);
        expect(alarm.finding).toBeNull();
        return;
      }
      expect(warnings).toHaveLength(1);
      for (const part of says) expect(warnings[0]).toContain(part);
      expect(warnings[0]).toContain(alarm.finding!.remedy);
    });

  test('a resumed run does not warn again', async () => {
    const rows = from(10, { 'logps/chosen': [-50, -90], 'rewards/margins': [0, 4] });
    const first = new CollapseCallback();
    await logged(first, rows);
    const resumed = new CollapseCallback();
    resumed.importState(JSON.parse(JSON.stringify(first.exportState())));
    expect((await logged(resumed, rows)).warnings).toEqual([]);
  });

  test('options that do not exist are refused by name', () => {
    expect(() => new CollapseCallback({ fal: 1 } as never)).toThrow(/CollapseCallback.*"fal"/s);
    expect(() => new NoSpreadCallback({ share: 2 })).toThrow(/share/);
  });
});

describe('explanations', () => {
  const said = async (rows: Rows) => (await logged(new ExplanationsCallback(), rows)).infos;

  test('each is given once, where it is first seen', async () => {
    const infos = await said([
      { 'rewards/chosen': 0, 'rewards/margins': 0 },
      { 'rewards/chosen': -0.2, 'rewards/margins': 0.4 },
      { 'rewards/chosen': -0.4, 'rewards/margins': 0.6 },
    ]);
    expect(infos).toHaveLength(1);
    expect(infos[0]).toMatch(/^at update 2, rewards\/chosen is below 0: .*normal/);
  });

  test('a loss of 0 in GRPO, and none where no group has spread', async () => {
    expect(await said([{ loss: 0, fracRewardZeroStd: 0.25 }])).toHaveLength(1);
    expect(await said([{ loss: 0, fracRewardZeroStd: 1 }])).toEqual([]);
    expect(await said([{ loss: 0 }])).toEqual([]);
  });

  test('a KL of 0 at the start', async () => {
    expect((await said([{ kl: 0 }, { kl: 0.1 }, { kl: 0 }]))[0]).toContain('still the reference');
    expect(await said([{ kl: 0.1 }])).toEqual([]);
  });
});

describe('completions in the log', () => {
  const table = {
    title: 'completions of update 3',
    columns: ['prompt', 'completion', 'happy', 'short', 'advantage'],
    rows: [
      [
        'Once upon a time',
        `a happy girl\nwent ${'far '.repeat(30)}${'x'.repeat(100)}`,
        1,
        null,
        0.93541,
      ],
      ['Once upon a time', '', 0, null, -0.5],
      ['Once upon a time', 'sad', 0, null, -0.5],
    ],
  };

  test('texts with their rewards, at most 80 columns wide', async () => {
    const { infos, logger } = listening();
    const callback = new CompletionsCallback({ numCompletionsToPrint: 2 });
    const context = { objective: { tables: () => [table] }, logger } as unknown as CallbackContext;
    callback.onLog(context, { loss: 1, learningRate: 1 });
    callback.onLog(context, { evalLoss: 1 });
    expect(infos).toHaveLength(1);
    const lines = infos[0]!.split('\n');
    expect(Math.max(...lines.map(({ length }) => length))).toBe(80);
    expect(lines).toEqual([
      'completions of update 3:',
      '  prompt      Once upon a time',
      `  completion  a happy girl\\nwent ${'far '.repeat(12).trim()}`,
      `              ${'far '.repeat(16).trim()}`,
      `              ${'far '.repeat(2).trim()}`,
      `              ${'x'.repeat(66)}`,
      `              ${'x'.repeat(34)}`,
      '              happy 1, short none, advantage 0.9354',
      '',
      '  prompt      Once upon a time',
      '  completion',
      '              happy 0, short none, advantage -0.5',
      '  and 1 more',
    ]);
  });

  test('nothing where the objective has no table', () => {
    const { infos, logger } = listening();
    const context = { objective: {}, logger } as unknown as CallbackContext;
    new CompletionsCallback().onLog(context, { loss: 1, learningRate: 1 });
    expect(infos).toEqual([]);
  });
});

describe('in a run', () => {
  const folder = join(import.meta.dirname, '../../../parity/fixtures/tiny-llama');
  const pairs = Array.from({ length: 4 }, (_, i) => ({
    prompt_ids: [3 + i, 7],
    chosen_ids: [20 + i, 2],
    rejected_ids: [60 + i, 9, 2],
  }));

  test('by their names: a loss that pushes both answers down', async () => {
    const { infos, warnings, logger } = listening();
    await using attune = await createAttune({ backend: 'reference', plugins: [align()], logger });
    const trainer = new AlignmentTrainer({
      objective: defineAlignmentObjective({
        name: 'down',
        format: 'pairs',
        options: z.strictObject({ share: z.number().default(0.1) }),
        needsReference: false,
        loss: ({ chosen, rejected }, { share }) => ({
          losses: chosen.mul(share).add(rejected),
          rewards: { chosen: chosen.detach(), rejected: rejected.detach() },
        }),
      }),
      model: await AutoModelForCausalLM.fromPretrained(folder, { attune, dtype: 'float32' }),
      trainDataset: pairs,
      callbacks: Object.keys(watchers),
      args: {
        outputDir: await mkdtemp(join(tmpdir(), 'attune-watch-')),
        maxSteps: 8,
        perDeviceTrainBatchSize: 4,
        learningRate: 0.01,
        loggingSteps: 1,
        saveStrategy: 'no',
      },
    });
    await trainer.train();
    const rows = trainer.state.logHistory.filter((row) => 'loss' in row);
    expect(rows.at(-1)!['logps/chosen']).toBeLessThan(1.5 * rows[0]!['logps/chosen']!);
    expect(warnings.filter((text) => text.startsWith('CollapseCallback'))).toHaveLength(1);
    expect(infos.filter((text) => text.includes('rewards/chosen is below 0'))).toHaveLength(1);
  });

  test('the names are those of the plugin', async () => {
    await using attune = await createAttune({
      backend: 'reference',
      plugins: [align()],
      logger: silentLogger,
    });
    expect(Object.keys(watchers).sort()).toEqual([
      'collapse',
      'completions',
      'cut-completions',
      'explanations',
      'no-spread',
      'reward-hacking',
      'saturation',
    ]);
    await using without = await createAttune({ backend: 'reference', logger: silentLogger });
    const make = async (of: typeof attune) =>
      new DPOTrainer({
        model: await AutoModelForCausalLM.fromPretrained(folder, { attune: of }),
        trainDataset: pairs,
        callbacks: ['collapse'],
        args: { outputDir: 'unused' },
      });
    await make(attune);
    await expect(make(without)).rejects.toThrow(/collapse/);
  });
});
