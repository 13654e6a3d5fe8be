import { mkdtemp, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { align, GRPOTrainer } from '@attune/align';
import { AutoModelForCausalLM, createAttune, silentLogger } from '@attune/core';
import { expect, test } from 'vitest';

test('the report of a run has the last completions, with rewards and advantages', async () => {
  await using attune = await createAttune({
    backend: 'reference',
    plugins: [align()],
    logger: silentLogger,
  });
  const outputDir = await mkdtemp(join(tmpdir(), 'attune-completions-'));
  const model = await AutoModelForCausalLM.fromPretrained(
    join(import.meta.dirname, '../../../parity/fixtures/tiny-llama'),
    { attune, dtype: 'float32' },
  );
  const trainer = new GRPOTrainer({
    model,
    trainDataset: [{ prompt_ids: [5, 9, 2], prompt: 'a <prompt>' }],
    rewardFuncs: [
      function even({ completionIds }) {
        return completionIds.map((ids) => (ids[0]! % 2 === 0 ? 1 : 0));
      },
    ],
    args: {
      outputDir,
      maxSteps: 2,
      perDeviceTrainBatchSize: 8,
      maxCompletionLength: 3,
      reportTo: 'html',
      saveStrategy: 'no',
    },
  });
  await trainer.train();
  const html = await readFile(join(outputDir, 'report.html'), 'utf8');
  const [, table] = /<h2>completions of update \d+<\/h2>\n([\s\S]*?)<\/table>/.exec(html)!;
  const head = [...table!.matchAll(/<th scope="col">([^<]*)</g)].map((match) => match[1]);
  expect(head).toEqual(['prompt', 'completion', 'even', 'advantage']);
  const rows = [...table!.matchAll(/<tr>(<td.*?)<\/tr>/g)].map((match) =>
    [...match[1]!.matchAll(/<td[^>]*>([^<]*)</g)].map((cell) => cell[1]),
  );
  expect(rows).toHaveLength(8);
  const { completions } = trainer;
  for (const [i, [prompt, , even, advantage]] of rows.entries()) {
    expect(prompt).toBe('a &lt;prompt&gt;');
    expect(Number(even)).toBe(completions!.rows[i]!.rewards.even);
    expect(Number(advantage)).toBeCloseTo(completions!.rows[i]!.advantage, 3);
  }
});
