import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CPOTrainer,
  DPOTrainer,
  KTOTrainer,
  ORPOTrainer,
  type ReferenceChoice,
  RewardTrainer,
} from '@attune/align';
import type { CallbackContext, LanguageModel, Row, Tokenizer } from '@attune/core';
import { expect } from 'vitest';
import { fixture, fixtures } from './fixtures.js';

/** A run of a trainer of TRL (parity/rows_align_runs.py). */
export interface AlignRun {
  readonly name: string;
  readonly trainer: 'DPOTrainer' | 'KTOTrainer' | 'ORPOTrainer' | 'CPOTrainer' | 'RewardTrainer';
  /** Which set of rows.json. */
  readonly rows: string;
  /** As TRL's, in camelCase. */
  readonly args: Readonly<Record<string, unknown>>;
  /** Folder of the adapter that it starts from. Without one all weights are trained. */
  readonly adapter?: string;
  readonly reference?: 'off' | 'initial';
  readonly note?: string;
  readonly trainRows: number;
  /** By TRL's names, one number for each update; null where it was not logged. */
  readonly trace: Readonly<Record<string, readonly (number | null)[]>>;
  /** Rows that are evaluated at the end, in batches of the size of training. */
  readonly evalRows?: { readonly rows: string; readonly count: number };
  readonly evaluation?: Readonly<Record<string, number>>;
}

/** Allowed differences from TRL, relative. */
export interface Within {
  readonly loss: number;
  readonly gradNorm: number;
}
export const onReference: Within = { loss: 1e-4, gradNorm: 1e-3 };
export const onDevices: Within = { loss: 1e-3, gradNorm: 1e-2 };

const folder = join(fixtures, 'align-runs');
export const runFolder = (name: string): string => join(folder, name);
export const runsOf = (file: string): readonly AlignRun[] =>
  fixture<{ runs: AlignRun[] }>(`align-runs/${file}.json`).runs;
export const rowsOf = (name: string, count?: number): readonly Row[] =>
  fixture<Record<string, Row[]>>('align-runs/rows.json')[name]!.slice(0, count);

const trainers = { DPOTrainer, KTOTrainer, ORPOTrainer, CPOTrainer, RewardTrainer } as const;

/** Names in TRL's log -> ours. */
const ourName = (name: string): string =>
  name.includes('/') ? name : name.replace(/_([a-z])/g, (_, c: string) => c.toUpperCase());

/**
 * What is not compared. `num_tokens` is `numInputTokensSeen` of ours, by option. `logits/*` of
 * ORPO and CPO are means over prompts and padding in TRL, over answers in ours. Where the
 * micro-batches of an update have different numbers of tokens, TRL logs means of means.
 */
function isCompared(run: AlignRun, name: string): boolean {
  if (name.endsWith('num_tokens')) return false;
  const isFree = run.trainer === 'ORPOTrainer' || run.trainer === 'CPOTrainer';
  if (isFree && name.includes('logits/')) return false;
  const isOfTokens = /entropy|logits\/|mean_token_accuracy/.test(name);
  return !(isOfTokens && run.note?.startsWith('unequal counts'));
}

export interface RunSetting {
  readonly model: LanguageModel;
  readonly tokenizer: Tokenizer;
  readonly rows: readonly Row[];
  readonly within: Within;
  /** Updates after which to stop; the schedule is that of the whole run. Default: all. */
  readonly updates?: number;
}

/** Follows a run of TRL and expects its loss, gradient norm, rate and metrics at each update. */
export async function follow(run: AlignRun, setting: RunSetting): Promise<void> {
  const { model, tokenizer, rows, within } = setting;
  const evalRows = run.evalRows && rowsOf(run.evalRows.rows, run.evalRows.count);
  const { updates = Number.POSITIVE_INFINITY } = setting;
  const { precomputeRefLogProbs, padToken, ...args } = run.args as Record<string, never>;
  const outputDir = await mkdtemp(join(tmpdir(), 'attune-align-'));
  const reference: ReferenceChoice = precomputeRefLogProbs
    ? { precomputed: join(outputDir, 'reference.json') }
    : run.reference === 'off'
      ? 'base'
      : 'initial';
  const needsReference = run.trainer === 'DPOTrainer' || run.trainer === 'KTOTrainer';
  const Trainer = trainers[run.trainer];
  const trainer = new Trainer({
    model,
    tokenizer,
    trainDataset: rows,
    ...(evalRows && { evalDataset: evalRows }),
    ...(needsReference && { reference }),
    callbacks: [
      {
        onStepEnd({ state, control }: CallbackContext) {
          if (state.globalStep >= updates) control.shouldTrainingStop = true;
        },
      },
    ],
    args: {
      outputDir,
      saveStrategy: 'no',
      shuffle: false,
      loggingSteps: 1,
      maxGradNorm: 1,
      preflight: 'off',
      ...(run.trainer === 'RewardTrainer' && { pooling: padToken ? 'transformers' : 'length' }),
      perDeviceEvalBatchSize: args.perDeviceTrainBatchSize,
      ...args,
    },
  } as never);
  const logs: Record<string, number>[] = [];
  trainer.on('log', ({ logs: row }) => {
    if ('gradNorm' in row) logs.push(row as unknown as Record<string, number>);
  });
  await trainer.train();
  const names = Object.keys(run.trace).filter((name) => isCompared(run, name));
  const count = Math.min(run.trace.loss!.length, updates);
  expect(logs).toHaveLength(count);
  const off: string[] = [];
  const compare = (
    where: string,
    name: string,
    ours: number | undefined,
    theirs: number | null,
  ) => {
    const plain = name.replace(/^eval_/, '');
    const bound = plain === 'loss' ? within.loss : plain === 'grad_norm' ? within.gradNorm : 1e-3;
    if (theirs === null && ours === undefined) return;
    const allowed = bound * Math.max(Math.abs(theirs ?? 0), 0.1);
    if (ours === undefined || theirs === null || !(Math.abs(ours - theirs) <= allowed))
      off.push(`${where} ${name}: ours ${ours}, TRL ${theirs}`);
  };
  // What a file keeps in float32 does not tie with what the reference backend has in float64.
  const isTie = (i: number, name: string) =>
    precomputeRefLogProbs &&
    name === 'rewards/accuracies' &&
    run.trace['rewards/margins']![i] === 0;
  for (let i = 0; i < count; i++)
    for (const name of names.filter((n) => !isTie(i, n)))
      compare(`update ${i + 1}`, name, logs[i]![ourName(name)], run.trace[name]![i]!);
  if (run.evaluation && evalRows && updates >= run.trace.loss!.length) {
    const found = (await trainer.evaluate()) as unknown as Record<string, number>;
    for (const [name, theirs] of Object.entries(run.evaluation))
      if (isCompared(run, name)) compare('evaluation', name, found[ourName(name)], theirs);
  }
  expect(off).toEqual([]);
}
