import { align } from '@attune/align';
import { dawn } from '@attune/backend-dawn';
import { AutoModelForCausalLM, AutoTokenizer, createAttune, silentLogger } from '@attune/core';
import { PeftModel, peft } from '@attune/peft';
import { describe, test } from 'vitest';
import {
  follow,
  onDevices,
  rowsOf,
  runFolder,
  runsOf,
} from '../../packages/align/test/recordedRuns.js';

// The first updates of runs of TRL on the device: one of each method, with every metric.
const UPDATES = 4;

describe.each([
  ['dpo', ['dpo-sigmoid', 'dpo-wpo', 'dpo-aot', 'dpo-mpo']],
  ['kto', ['kto-unpaired']],
  ['referenceFree', ['orpo-plain', 'cpo-sigmoid', 'cpo-simpo', 'cpo-alphapo']],
])('LoRA as TRL trains it, on the device: %s', (file, names) => {
  test.each(names)('%s', async (name) => {
    const run = runsOf(file).find((r) => r.name === name)!;
    await using attune = await createAttune({
      plugins: [dawn(), align(), peft()],
      logger: silentLogger,
    });
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
