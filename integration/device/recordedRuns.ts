import {
  type Attune,
  AutoModelForCausalLM,
  type LanguageModel,
  type SftArgumentsInput,
} from '@attune/core';
import { PeftModel } from '@attune/peft';
import {
  argumentsOf,
  expectUpdates,
  updatesOf,
} from '../../packages/core/test/trainer/recordedRun.js';
import { fixture, fixtureJson } from './support.js';

/**
 * Updates from PEFT's initial adapter; expects transformers + PEFT's loss, norm and rate at each.
 *
 * @param updates how many. Default: all that were recorded
 */
export async function follow(
  name: string,
  model: LanguageModel,
  data: Parameters<typeof updatesOf>[1],
  extra: SftArgumentsInput = {},
  updates?: number,
): Promise<void> {
  const { settings, trace } = fixtureJson(`${name}/run.json`);
  const logs = await updatesOf(model, data, { ...argumentsOf(settings), ...extra }, updates);
  // 1e-3 and 1e-2 would do; float32 on the device stays far inside.
  expectUpdates(logs, trace.slice(0, updates), { loss: 1e-4, gradNorm: 1e-3 });
}

/** LoRA on weights of 4 and 8 bits, 20 updates. */
export const quantizedRuns = ['tiny-llama-tied-nf4', 'tiny-qwen2-fp4', 'tiny-qwen2-int8'] as const;

export async function followQuantized(
  attune: Attune,
  name: string,
  updates?: number,
): Promise<void> {
  const { rows } = fixtureJson(`${name}/run.json`);
  const quantized = await AutoModelForCausalLM.fromPretrained(fixture(name), { attune });
  const model = await PeftModel.fromPretrained(quantized, fixture(`${name}/initial`), {
    isTrainable: true,
  });
  await follow(name, model, { trainDataset: rows }, {}, updates);
}
