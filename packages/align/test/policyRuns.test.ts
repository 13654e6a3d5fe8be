import { join } from 'node:path';
import { AutoModelForCausalLM, createAttune, silentLogger } from '@attune/core';
import { describe, test } from 'vitest';
import { fixtures } from './fixtures.js';
import { followPolicyRun, recordedRuns } from './recordedPolicyRuns.js';

describe('GRPO and RLOO of all weights follow TRL update by update', () => {
  const runs = recordedRuns();
  test.each(runs.cases.filter(({ lora }) => !lora).map((run) => [run.name, run] as const))(
    '%s',
    async (_, run) => {
      await using attune = await createAttune({ backend: 'reference', logger: silentLogger });
      const model = await AutoModelForCausalLM.fromPretrained(join(fixtures, 'tiny-llama'), {
        attune,
        dtype: 'float32',
      });
      await followPolicyRun(run, runs, model);
    },
  );
});
