import { AutoModelForCausalLM, createAttune, silentLogger } from '@attune/core';
// The adapters of the traces are PEFT's: this test crosses the rooms on purpose.
import { PeftModel, peft } from '@attune/peft';
import { describe, test } from 'vitest';
import {
  argumentsOf,
  expectUpdates,
  updatesOf,
  VARIANT_UPDATES,
} from '../packages/core/test/trainer/recordedRun.js';
import { fixture, fixtureJson } from '../packages/core/test/trainer/support.js';

/**
 * transformers.Trainer + PEFT from the same initial adapter: 30 updates, of variants the first; the
 * tolerance is the fixture's.
 */
describe('traces of LoRA runs', () => {
  for (const name of [
    'lora-run-tiny',
    'lora-run-tiny-2',
    'lora-variants/dora-llama',
    'lora-variants/dora-qwen2',
    'lora-variants/loraplus-qwen2',
    'lora-variants/olora-llama',
    'lora-variants/olora-qwen2',
    'lora-variants/orthogonal-llama',
    'lora-variants/patterns-llama',
    'lora-variants/patterns-qwen2',
    'lora-variants/pissa-llama',
    'lora-variants/pissa-qwen2',
    'lora-variants/rslora-llama',
    'lora-variants/rslora-qwen2',
  ])
    test(name, async () => {
      const { settings, rows, trace, base, loadConfig } = fixtureJson(`${name}/run.json`);
      await using attune = await createAttune({
        backend: 'reference',
        plugins: [peft()],
        logger: silentLogger,
      });
      const plain = await AutoModelForCausalLM.fromPretrained(fixture(base), {
        attune,
        dtype: 'float32',
      });
      const model = await PeftModel.fromPretrained(plain, fixture(`${name}/initial`), {
        isTrainable: true,
        config: loadConfig,
      });
      const count = name.startsWith('lora-variants/') ? VARIANT_UPDATES : trace.length;
      const logs = await updatesOf(model, { trainDataset: rows }, argumentsOf(settings), count);
      expectUpdates(logs, trace.slice(0, count));
    });
});
