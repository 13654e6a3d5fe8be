import { AttuneError } from '@attune/core';
import { type OptionsInput, parseOptions } from '@attune/core/util';
import { z } from 'zod';
import { readAdapterConfig, readAdapterShapes } from '../files/adapterFolder.js';
import { llamaCppProblems } from './llamaCpp.js';
import { peftProblems } from './peftPython.js';
import type { AdapterProblem, AdapterTarget } from './problem.js';
import type { SavedAdapter } from './savedAdapter.js';
import { vllmProblems } from './vllm.js';

const checkShape = {
  /** Who is to read it. */
  target: z.custom<AdapterTarget>(),
  /** vLLM: the server's --max-lora-rank. Default 16, as vLLM's. */
  maxLoraRank: z.int().min(1).default(16),
};
const checkOptions = z.strictObject(checkShape);

/** Options of {@link checkAdapter}. */
export type CheckAdapterOptions = OptionsInput<typeof checkShape>;

/**
 * What a target would refuse in an adapter's folder, or compute otherwise than it was trained;
 * empty when nothing. Reads adapter_config.json and the header of adapter_model.safetensors: no
 * device, no base model, no values, nothing is downloaded. So it does not know whether the adapter
 * belongs to the base that it names.
 *
 * The rules were read in PEFT 0.21.2 and in the sources of vLLM and llama.cpp of 2025 and 2026; the
 * files and commits are named at each rule set (`interop/vllm.ts`, `interop/llamaCpp.ts`,
 * `interop/peftPython.ts`). Other versions may be stricter or laxer.
 *
 * @param folder with adapter_config.json and adapter_model.safetensors
 * @example for (const { code, message, fix } of await checkAdapter('adapter', { target: 'vllm' })) console.log(code, message, fix);
 * @throws PEFT_ADAPTER_MISSING, PEFT_ADAPTER_INCOMPLETE, CONFIG_INVALID, SAFETENSORS_... for a
 *   folder that nobody can read; PEFT_TARGET_UNKNOWN, UNKNOWN_OPTION
 */
export async function checkAdapter(
  folder: string,
  options: CheckAdapterOptions,
): Promise<readonly AdapterProblem[]> {
  const place = { where: 'checkAdapter', code: 'PEFT_CALL' };
  const { target, maxLoraRank } = parseOptions(checkOptions, options, place);
  const { fields } = await readAdapterConfig(folder);
  return problemsFor({ fields, tensors: await readAdapterShapes(folder) }, target, maxLoraRank);
}

/** @throws PEFT_TARGET_UNKNOWN */
export function problemsFor(
  adapter: SavedAdapter,
  target: AdapterTarget,
  maxLoraRank: number,
): readonly AdapterProblem[] {
  switch (target) {
    case 'peft':
      return peftProblems(adapter);
    case 'vllm':
      return vllmProblems(adapter, maxLoraRank);
    case 'llama.cpp':
      return llamaCppProblems(adapter);
    default:
      throw new AttuneError(
        'PEFT_TARGET_UNKNOWN',
        `checkAdapter: target is ${JSON.stringify(target)}.`,
        {
          remedy: 'Give "peft", "vllm" or "llama.cpp".',
        },
      );
  }
}
