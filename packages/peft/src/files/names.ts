import type { PeftMethod } from '../contract/methodKinds.js';
import { PROMPT_EMBEDDINGS } from '../slots/promptSlot.js';

export const CONFIG_FILE = 'adapter_config.json';
export const WEIGHTS_FILE = 'adapter_model.safetensors';
/** Ours alone: what training on needs where the virtual tokens of a file are computed. */
export const ENCODER_FILE = 'prompt_encoder.safetensors';

/**
 * How PEFT's own wrappers call the base model: where virtual tokens are all there is, it has one
 * less.
 */
export const prefixOf = (method: PeftMethod): string =>
  method.kind === 'prompt' ? 'base_model.' : 'base_model.model.';

/**
 * A name within the base model as files have it. What belongs to no layer (VeRA's matrices) has no
 * path.
 */
export function nameInFile(method: PeftMethod, name: string): string {
  if (name === PROMPT_EMBEDDINGS) return name;
  return name.includes('.') ? prefixOf(method) + name : `base_model.${name}`;
}
