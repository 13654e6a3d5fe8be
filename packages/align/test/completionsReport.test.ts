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

test('what watches a run reads the numbers that GRPO logs', async () => {
  const heard = async (reward: (ids: readonly number[]) => number) => {
    const lines: string[] = [];
    const listen = (line: string) => lines.push(line);
    await using attune = await createAttune({
      backend: 'reference',
      plugins: [align()],
      logger: { ...silentLogger, info: listen, warn: listen },
    });
    const trainer = new GRPOTrainer({
      model: await AutoModelForCausalLM.fromPretrained(
        join(import.meta.dirname, '../../../parity/fixtures/tiny-llama'),
        { attune, dtype: 'float32' },
      ),
      trainDataset: [{ prompt_ids: [5, 9, 2], prompt: 'a prompt' }],
      rewardFuncs: [({ completionIds }) => completionIds.map(reward)],
      callbacks: ['no-spread', 'cut-completions', 'explanations', 'completions'],
      args: {
        outputDir: await mkdtemp(join(tmpdir(), 'attune-watched-')),
        beta: 0.04,
        maxSteps: 3,
        perDeviceTrainBatchSize: 8,
        maxCompletionLength: 2,
        loggingSteps: 1,
        saveStrategy: 'no',
      },
    });
    await trainer.train();
    return (start: string) => lines.filter((line) => line.startsWith(start)).length;
  };
  const equal = await heard(() => 0);
  expect(equal('NoSpreadCallback at update 3: in 100 % of the groups')).toBe(1);
  expect(equal('CutCompletionsCallback at update 3: ')).toBe(1);
  expect(equal('at update 1, the KL is 0')).toBe(1);
  expect(equal('at update 1, the loss is 0')).toBe(0);
  expect(equal('completions of update ')).toBe(3);
  const different = await heard((ids) => ids[0]! % 2);
  expect(different('NoSpreadCallback')).toBe(0);
  expect(different('at update 1, the loss is 0')).toBe(1);
});
