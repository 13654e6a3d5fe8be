import { align } from '@attune/align';
import { AutoModelForCausalLM, AutoTokenizer, createAttune, silentLogger } from '@attune/core';
import { describe, expect, onTestFinished, test } from 'vitest';
import { follow, onReference, rowsOf, runFolder, runsOf } from './recordedRuns.js';

// Runs of TRL's trainers, all weights trained; those of adapters are in integration/.

describe.each(['dpo', 'kto', 'referenceFree'])('full fine-tuning as TRL does it: %s', (file) => {
  const runs = runsOf(file).filter(({ adapter }) => adapter === undefined);
  test('there are some', () => expect(runs.length).toBeGreaterThan(1));

  test.each(runs.map(({ name }) => name))('%s', async (name) => {
    const run = runs.find((r) => r.name === name)!;
    const attune = await createAttune({
      plugins: [align()],
      backend: 'reference',
      logger: silentLogger,
    });
    onTestFinished(() => attune.dispose());
    await follow(run, {
      model: await AutoModelForCausalLM.fromPretrained(runFolder('base'), { attune }),
      tokenizer: await AutoTokenizer.fromPretrained(runFolder('base')),
      rows: rowsOf(run.rows),
      within: onReference,
    });
  });
});
