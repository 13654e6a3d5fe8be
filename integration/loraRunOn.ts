import { AutoModelForCausalLM, createAttune, silentLogger } from '@attune/core';
import { PeftModel, peft } from '@attune/peft';
import {
  argumentsOf,
  expectUpdates,
  updatesOf,
} from '../packages/core/test/trainer/recordedRun.js';
import { fixture, fixtureJson } from '../packages/core/test/trainer/support.js';

export const plainRuns = ['lora-run-tiny', 'lora-run-tiny-2'] as const;

export const variants = [
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
] as const;

/**
 * Follows transformers.Trainer + PEFT from the same initial adapter; the tolerance is the
 * fixture's.
 *
 * @param updates how many. Default: all that were recorded
 */
export async function followLoraRun(name: string, updates?: number): Promise<void> {
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
  const count = updates ?? trace.length;
  const logs = await updatesOf(model, { trainDataset: rows }, argumentsOf(settings), count);
  expectUpdates(logs, trace.slice(0, count));
}
