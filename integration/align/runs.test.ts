import { align } from '@attune/align';
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  createAttune,
  loadDataset,
  type Row,
  silentLogger,
} from '@attune/core';
// The adapters are PEFT's: this test crosses the rooms on purpose.
import { PeftModel, peft } from '@attune/peft';
import { describe, expect, test } from 'vitest';
import {
  follow,
  onReference,
  rowsOf,
  runFolder,
  runsOf,
} from '../../packages/align/test/recordedRuns.js';
import { hasStories, shared } from '../../packages/backend-dawn/test/support.js';

// Runs of TRL's trainers with LoRA (parity/rows_align_runs.py): loss, gradient norm and metrics.

const open = () =>
  createAttune({ backend: 'reference', plugins: [align(), peft()], logger: silentLogger });

describe.each(['dpo', 'kto', 'referenceFree'])('LoRA as TRL trains it: %s', (file) => {
  const runs = runsOf(file).filter(({ adapter }) => adapter !== undefined);
  test('there are some', () => expect(runs.length).toBeGreaterThan(5));

  test.each(runs.map(({ name }) => name))('%s', async (name) => {
    const run = runs.find((r) => r.name === name)!;
    await using attune = await open();
    const base = await AutoModelForCausalLM.fromPretrained(runFolder('base'), { attune });
    await follow(run, {
      model: await PeftModel.fromPretrained(base, runFolder(run.adapter!), { isTrainable: true }),
      tokenizer: await AutoTokenizer.fromPretrained(runFolder('base')),
      rows: rowsOf(run.rows),
      within: onReference,
    });
  });
});

// The reference backend takes seconds for one of their updates.
const STORIES_UPDATES = 2;

describe.skipIf(!hasStories)('stories260k (needs the shared model and data)', () => {
  const runs = runsOf('stories');
  test.each(runs.map(({ name }) => name))('%s', async (name) => {
    const run = runs.find((r) => r.name === name)!;
    await using attune = await open();
    const folder = shared('models/stories260k');
    const base = await AutoModelForCausalLM.fromPretrained(folder, { attune });
    const dataFiles = shared('datasets/nl2bash/preference.jsonl');
    const rows: Row[] = [];
    for (const row of (await loadDataset('json', { dataFiles })).select(64)) rows.push(row);
    const { adapter } = run;
    await follow(run, {
      model: adapter
        ? await PeftModel.fromPretrained(base, runFolder(adapter), { isTrainable: true })
        : base,
      tokenizer: await AutoTokenizer.fromPretrained(folder),
      rows,
      within: onReference,
      updates: STORIES_UPDATES,
    });
  });
});
