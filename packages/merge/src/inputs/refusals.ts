import type { RawConfig } from '@attune/core/io';
import { isPlainObject } from '@attune/core/util';
import type { StoredTensor } from '../contract/tensorTask.js';

/** Names of what quantised checkpoints hold beside or in the place of weights. */
const QUANTIZED =
  /\.(qweight|qzeros|g_idx|SCB|weight_scale(_inv)?|weight_packed|weight\.(absmax|quant_map|nested_absmax|quant_state\..+))$/;

/** Why a model cannot be merged; null: it can. */
export function whyNotMergeable(
  config: RawConfig,
  tensors: ReadonlyMap<string, StoredTensor>,
): { readonly found: string; readonly remedy: string } | null {
  if (tensors.size === 0)
    return { found: 'has no tensors', remedy: 'Fetch the weights again: the file is empty.' };
  const remedy = 'Merge the checkpoint that it was made from, and quantise what comes out.';
  const { quantization_config: quantization } = config;
  if (isPlainObject(quantization)) {
    const { quant_method: method } = quantization;
    const how = typeof method === 'string' ? ` (quant_method "${method}")` : '';
    return { found: `is quantised${how}: its tensors are codes, not weights`, remedy };
  }
  const codes = [...tensors.keys()].find((name) => QUANTIZED.test(name));
  if (codes !== undefined)
    return { found: `is quantised: it has the tensor "${codes}", and codes for weights`, remedy };
  const [name, { dtype }] = [...tensors].find(([, tensor]) => /^F8/.test(tensor.dtype)) ?? [
    '',
    { dtype: '' },
  ];
  if (name)
    return {
      found: `holds "${name}" in ${dtype}: 8-bit floats without the scales that they are meant with`,
      remedy: 'Convert it to bfloat16 first.',
    };
  return null;
}
