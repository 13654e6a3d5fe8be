import { join } from 'node:path';
import { AutoModelForCausalLM, createAttune, silentLogger } from '@attune/core';
import { PeftModel, peft } from '@attune/peft';
import { describe, test } from 'vitest';
import { fixtures } from '../packages/align/test/fixtures.js';
import { followPolicyRun, recordedRuns } from '../packages/align/test/recordedPolicyRuns.js';

describe('GRPO and RLOO of a LoRA adapter follow TRL + PEFT update by update', () => {
  const runs = recordedRuns();
  test.each(runs.cases.filter(({ lora }) => lora).map((run) => [run.name, run] as const))(
    '%s',
    async (_, run) => {
      await using attune = await createAttune({
        backend: 'reference',
        plugins: [peft()],
        logger: silentLogger,
      });
      const base = await AutoModelForCausalLM.fromPretrained(join(fixtures, 'tiny-llama'), {
        attune,
        dtype: 'float32',
      });
      const model = await PeftModel.fromPretrained(base, join(fixtures, 'align-grpo/adapter'), {
        isTrainable: true,
      });
      await followPolicyRun(run, runs, model);
    },
  );
});
