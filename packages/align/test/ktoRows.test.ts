import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { align, KTOTrainer } from '@attune/align';
import { AutoModelForCausalLM, createAttune, IterableDataset, silentLogger } from '@attune/core';
import type { RowSource } from '@attune/core/text';
import { expect, onTestFinished, test, vi } from 'vitest';
import { fixtures } from './rows.support.js';

const pairs = [0, 1, 2, 3].map((i) => ({
  prompt_ids: [1, 5 + i],
  chosen_ids: [10 + i, 2],
  rejected_ids: [20 + i, 30, 2],
}));
const wanted = { prompt_ids: [1, 6], completion_ids: [7, 2], label: true };

/** A KTO trainer and what it warned of. */
async function kto(trainDataset: RowSource, more: object = {}) {
  const warn = vi.fn();
  const attune = await createAttune({
    backend: 'reference',
    plugins: [align()],
    logger: { ...silentLogger, warn },
  });
  onTestFinished(() => attune.dispose());
  const model = await AutoModelForCausalLM.fromPretrained(join(fixtures, 'tiny-llama'), { attune });
  const args = {
    outputDir: await mkdtemp(join(tmpdir(), 'attune-kto-')),
    maxSteps: 1,
    perDeviceTrainBatchSize: 2,
    saveStrategy: 'no' as const,
    ...more,
  };
  return { trainer: new KTOTrainer({ model, trainDataset, args }), warn };
}

test('pairs are taken apart, and it is said in which order they come', async () => {
  const { trainer, warn } = await kto(pairs);
  expect(trainer.args.trainSamplingStrategy).toBe('sequential');
  expect(warn.mock.calls.flat()).toEqual([
    expect.stringMatching(/4 wanted answers come first, then 4 unwanted ones, as in TRL/),
  ]);
  const { samples } = await trainer.preview({ rows: 5 });
  expect(samples.map(({ origin }) => origin).slice(3)).toEqual([
    'rows[3] chosen',
    'rows[0] rejected',
  ]);
});

test('rows in another order, where it is asked for', async () => {
  const { trainer } = await kto(pairs, { shuffle: true });
  expect(trainer.args.trainSamplingStrategy).toBe('random');
  const grouped = await kto(pairs, { group_by_length: true });
  expect(grouped.trainer.args.trainSamplingStrategy).toBe('group_by_length');
});

test('labelled rows stay; classes of different sizes are said with weights that balance them', async () => {
  const rows = [wanted, wanted, wanted, { ...wanted, label: false }];
  const { trainer, warn } = await kto(rows);
  expect(warn).not.toHaveBeenCalled();
  const { problems } = await trainer.preview();
  expect(problems).toMatchObject([
    {
      check: 'label-weights',
      refused: false,
      message: expect.stringContaining('3 answers are wanted and 1 are not'),
      remedy: expect.stringContaining('a desirableWeight of 0.33 to 0.44'),
    },
  ]);
  const balanced = await kto(rows, { undesirableWeight: 2.5 });
  expect((await balanced.trainer.preview()).problems).toEqual([]);
});

test('a stream of pairs is taken apart while it is read, and trained on', async () => {
  let read = 0;
  const stream = IterableDataset.from(function* () {
    for (let i = 0; ; i++) {
      read++;
      yield pairs[i % 4]!;
    }
  });
  const { trainer } = await kto(stream, { loggingSteps: 1 });
  expect(read).toBe(0);
  await trainer.train();
  expect(read).toBeGreaterThanOrEqual(1000);
  expect(read).toBeLessThan(10_000);
  expect(trainer.state.logHistory[0]).toHaveProperty('rewards/chosen');
});
