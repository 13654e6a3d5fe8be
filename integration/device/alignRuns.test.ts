import { align } from '@attune/align';
import { dawn } from '@attune/backend-dawn';
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  createAttune,
  loadDataset,
  type Row,
  silentLogger,
} from '@attune/core';
import { PeftModel, peft } from '@attune/peft';
import { describe, test } from 'vitest';
import {
  follow,
  onDevices,
  rowsOf,
  runFolder,
  runsOf,
} from '../../packages/align/test/recordedRuns.js';
import { hasStories, shared } from './support.js';

// The first updates of runs of TRL on the device: one of each method, with every metric.
const UPDATES = 4;

const open = () => createAttune({ plugins: [dawn(), align(), peft()], logger: silentLogger });

describe.each([
  ['dpo', ['dpo-sigmoid', 'dpo-wpo', 'dpo-aot', 'dpo-mpo']],
  ['kto', ['kto-unpaired']],
  ['referenceFree', ['orpo-plain', 'cpo-sigmoid', 'cpo-simpo', 'cpo-alphapo']],
])('LoRA as TRL trains it, on the device: %s', (file, names) => {
  test.each(names)('%s', async (name) => {
    const run = runsOf(file).find((r) => r.name === name)!;
    await using attune = await open();
    const base = await AutoModelForCausalLM.fromPretrained(runFolder('base'), { attune });
    await follow(run, {
      model: await PeftModel.fromPretrained(base, runFolder(run.adapter!), { isTrainable: true }),
      tokenizer: await AutoTokenizer.fromPretrained(runFolder('base')),
      rows: rowsOf(run.rows),
      within: onDevices,
      updates: UPDATES,
    });
  });
});

describe.skipIf(!hasStories)('stories260k (needs the shared model and data)', () => {
  test.each(runsOf('stories').map((run) => [run.name, run] as const))('%s', async (_, run) => {
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
      within: onDevices,
    });
  });
});
