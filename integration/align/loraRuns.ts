import { align } from '@attune/align';
import { AutoModelForCausalLM, AutoTokenizer, createAttune, silentLogger } from '@attune/core';
// The adapters are PEFT's: this crosses the rooms on purpose.
import { PeftModel, peft } from '@attune/peft';
import {
  follow,
  onReference,
  rowsOf,
  runFolder,
  runsOf,
} from '../../packages/align/test/recordedRuns.js';

type Run = ReturnType<typeof runsOf>[number];

/** Runs of TRL's trainers with LoRA (parity/rows_align_runs.py). */
export const loraRuns: readonly Run[] = ['dpo', 'kto', 'referenceFree']
  .flatMap((file) => runsOf(file))
  .filter(({ adapter }) => adapter !== undefined);

/** Those that `npm test` follows; the sizes project has the others. */
export const firstRuns: readonly string[] = [
  'dpo-initial',
  'dpo-chat',
  'dpo-windows',
  'dpo-precomputed',
  'dpo-ld',
  'dpo-forward_kl',
  'kto-paired',
  'kto-weights',
  'orpo-windows',
  'cpo-smoothed',
];

/** Makes the same run: loss, gradient norm and metrics. */
export async function followLora(run: Run): Promise<void> {
  await using attune = await createAttune({
    backend: 'reference',
    plugins: [align(), peft()],
    logger: silentLogger,
  });
  const base = await AutoModelForCausalLM.fromPretrained(runFolder('base'), { attune });
  await follow(run, {
    model: await PeftModel.fromPretrained(base, runFolder(run.adapter!), { isTrainable: true }),
    tokenizer: await AutoTokenizer.fromPretrained(runFolder('base')),
    rows: rowsOf(run.rows),
    within: onReference,
  });
}
