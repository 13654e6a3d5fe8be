import { readdirSync, readFileSync } from 'node:fs';
import {
  type Attune,
  AutoModelForCausalLM,
  SFTTrainer,
  type SftArgumentsInput,
} from '@attune/core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { fixture, onDawn, temporaryFolder } from './support.js';

let attune: Attune;
beforeAll(async () => {
  attune = await onDawn();
});
afterAll(() => attune.dispose());

/** transformers' Trainer on tiny-llama: label smoothing, weight decay, clipping, 30 updates. */
interface Run {
  readonly name: string;
  readonly settings: Readonly<Record<string, unknown>>;
  readonly loss: readonly number[];
  readonly gradNorm: readonly number[];
  readonly learningRate: readonly number[];
  readonly evalLoss?: readonly number[];
}

const folder = fixture('full-runs');
const read = (file: string) => JSON.parse(readFileSync(`${folder}/${file}`, 'utf8'));
const { rows, evalRows } = read('rows.json') as { rows: object[]; evalRows: object[] };
const runs = readdirSync(folder)
  .filter((file) => file !== 'rows.json')
  .map((file) => read(file) as Run);

/** Largest |ours - theirs| / |theirs|. */
const worst = (ours: readonly number[], theirs: readonly number[]) => {
  expect(ours).toHaveLength(theirs.length);
  return Math.max(
    ...ours.map((x, i) => Math.abs(x - theirs[i]!) / Math.max(Math.abs(theirs[i]!), 1e-12)),
  );
};

describe('full fine-tuning for 30 updates equals transformers, each update within 0.1 %', () => {
  for (const { name, settings, ...theirs } of runs)
    test(name, { timeout: 300_000 }, async () => {
      const ours = {
        loss: [] as number[],
        gradNorm: [] as number[],
        learningRate: [] as number[],
        evalLoss: [] as number[],
      };
      using model = await AutoModelForCausalLM.fromPretrained(fixture('tiny-llama'), { attune });
      const trainer = new SFTTrainer({
        model,
        trainDataset: rows,
        evalDataset: evalRows,
        args: {
          ...(settings as SftArgumentsInput),
          outputDir: temporaryFolder(),
          saveStrategy: 'no',
          shuffle: false,
          loggingSteps: 1,
        },
      });
      trainer.on('log', ({ logs }) => {
        if (!('loss' in logs)) return;
        ours.loss.push(logs.loss as number);
        ours.gradNorm.push(logs.gradNorm as number);
        ours.learningRate.push(logs.learningRate as number);
      });
      trainer.on('evaluate', ({ metrics }) => ours.evalLoss.push(metrics.evalLoss));
      await trainer.train();
      expect(worst(ours.loss, theirs.loss)).toBeLessThan(1e-3);
      expect(worst(ours.gradNorm, theirs.gradNorm)).toBeLessThan(1e-2);
      expect(worst(ours.learningRate, theirs.learningRate)).toBeLessThan(1e-9);
      expect(worst(ours.evalLoss, theirs.evalLoss ?? [])).toBeLessThan(1e-3);
    });
});
