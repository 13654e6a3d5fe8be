import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AlignmentTrainer, align } from '@attune/align';
import { alignmentObjectiveKit } from '@attune/align/testing';
import { AutoModelForCausalLM, createAttune, silentLogger } from '@attune/core';
import { expect, test } from 'vitest';
import { lengthDpo, lengthDpoPlugin } from './lengthDpo.js';

for (const { name, run } of alignmentObjectiveKit(lengthDpo, {
  options: { beta: 0.4, alpha: 0.1 },
  otherOptions: [{ beta: 0.4, alpha: 0.2 }],
}))
  test(name, run);

test('by its name it begins at the loss that its lengths give', async () => {
  await using attune = await createAttune({
    backend: 'reference',
    plugins: [align(), lengthDpoPlugin()],
    logger: silentLogger,
  });
  const outputDir = await mkdtemp(join(tmpdir(), 'attune-length-'));
  const trainer = new AlignmentTrainer({
    objective: 'length-dpo',
    model: await AutoModelForCausalLM.fromPretrained(
      join(import.meta.dirname, '../parity/fixtures/tiny-llama'),
      { attune, dtype: 'float32' },
    ),
    trainDataset: [{ prompt_ids: [5, 9], chosen_ids: [7, 30, 4, 2], rejected_ids: [8] }],
    args: { outputDir, alpha: 0.5, maxSteps: 1, loggingSteps: 1, saveStrategy: 'no' } as never,
  });
  await trainer.train();
  const [row] = trainer.state.logHistory;
  expect(row!.longer).toBe(3);
  expect(row!.loss).toBeCloseTo(Math.log1p(Math.exp(0.5 * 3)), 6); // the margin is still 0
  await rm(outputDir, { recursive: true });
});
