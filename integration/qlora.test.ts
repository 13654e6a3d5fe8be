import { AutoModelForCausalLM, createAttune, silentLogger } from '@attune/core';
// Adapters on quantised models: this test crosses the rooms on purpose.
import { PeftModel, peft } from '@attune/peft';
import { describe, expect, test } from 'vitest';
import {
  argumentsOf,
  expectUpdates,
  updatesOf,
  VARIANT_UPDATES,
} from '../packages/core/test/trainer/recordedRun.js';
import { fixture, fixtureJson } from '../packages/core/test/trainer/support.js';

/** Row 64: updates of PEFT's LoRA on the weights that bitsandbytes dequantises. */
describe('LoRA on a base that bitsandbytes quantised', () => {
  for (const name of ['tiny-llama-tied-nf4', 'tiny-qwen2-fp4', 'tiny-qwen2-int8'])
    for (const gradientCheckpointing of [false, true])
      test(`${name}${gradientCheckpointing ? ', gradient checkpointing' : ''}`, async () => {
        const { base, settings, rows, trace } = fixtureJson(`${name}/run.json`);
        await using attune = await createAttune({
          backend: 'reference',
          plugins: [peft()],
          logger: silentLogger,
        });
        const quantized = await AutoModelForCausalLM.fromPretrained(fixture(name), { attune });
        const model = await PeftModel.fromPretrained(quantized, fixture(`${name}/initial`), {
          isTrainable: true,
        });
        const args = argumentsOf(settings);
        const count = gradientCheckpointing ? 1 : VARIANT_UPDATES;
        const logs = await updatesOf(
          model,
          { trainDataset: rows },
          { ...args, gradientCheckpointing },
          count,
        );
        expectUpdates(logs, trace.slice(0, count), { loss: 1e-5, gradNorm: 1e-3 });
        // A weight of 4 bits counts as one parameter, as in PEFT.
        const plain = await AutoModelForCausalLM.fromPretrained(fixture(base), { attune });
        const plainSize = [...plain.root.namedParameters()].reduce((n, [, p]) => n + p.size, 0);
        const { trainable, all } = model.getNbTrainableParameters();
        expect(all - trainable).toBe(plainSize);
      });
});
